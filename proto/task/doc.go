// Package task owns the Task API on the wire: its messages, the server's side for
// both names it goes by (containerd.task.v2.Task and containerd.task.v3.Task), and a
// client.
//
// It never decides what a request does; Service's implementer does.
package task
