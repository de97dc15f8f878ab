// Package epoll waits for any number of descriptors in one goroutine that costs no
// thread: a set of epoll(7) is a descriptor that can be polled itself, and is in the
// Go runtime's poller.
//
// A descriptor in a set costs this process no memory but its key. One in the
// runtime's own poller costs some 300 bytes, and its os.File as much again.
//
// The package never closes what is in a set, and never calls anybody.
package epoll
