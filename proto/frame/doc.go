// Package frame stands between a ttrpc server and its peers, and keeps from the
// server what it cannot bear. It looks at the frames' headers only: what is in
// them is the server's to judge.
package frame
