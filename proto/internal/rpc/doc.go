// Package rpc owns what every method of every service of ours has in common on its
// way through ttrpc, on both sides.
//
// It never names a service.
package rpc
