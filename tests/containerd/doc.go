// Package containerd holds the tests of the shim under a real containerd, driven
// by ctr, as users drive it, by its own API, by the CRI, as a kubelet does, and by
// a dockerd on it.
//
// It owns what a daemon owns: each test has a containerd of its own, with its
// own root, state and sockets, whose PATH has first a directory in which
// containerd-shim-runc-v2 is a link to the shim under test. So the runtime that
// everybody uses by default, io.containerd.runc.v2, is that shim, which every
// test proves by the executable of a shim's process. When a test ends, no
// process, socket, mount, cgroup or bundle of its daemon may be left.
//
// It never speaks to a shim itself, and looks into one no further than /proc
// shows every process.
//
// The tests need root, and Debian's packages containerd, runc, docker.io
// and busybox-static; without one of these they fail. HOLDFAST_SHIM names another
// shim's binary to run them against, HOLDFAST_DAEMONS other containerds to run them
// under (command daemons). With HOLDFAST_LONG set some take their long forms.
package containerd
