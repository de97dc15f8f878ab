// Package harness is a containerd without containerd: a Daemon with a state
// directory, an events socket and client.Launcher, that can go down, come back
// and find its shims again, for end-to-end tests of the real shim with the real
// runtime.
//
// It owns what a test leaves behind: when a test ends, no process, socket,
// mount, cgroup or directory of its daemon may be left, and the events that came
// must be in an order that the contract allows. What is left fails the test, and
// is then removed, so that one failure does not become many.
//
// It never looks into the shim's memory or code, and knows no runtime's insides.
package harness
