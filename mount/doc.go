// Package mount puts a container's root filesystem together and takes it apart.
//
// It owns what containerd's list of mounts means: each one's options, their
// order, the directory they go to, and that all of them happen or none. It owns
// nothing once it has returned: no file descriptor, no goroutine, no thread. What
// is mounted lives in the kernel, and UnmountAll finds it there, so a process
// that knows nothing of All's can undo it.
//
// It never leaves the root directory it was given: targets are resolved inside
// it, symbolic links in it included, and a symbolic link in the root's own place
// is refused. It never runs a program on disk (a type that needs a mount helper,
// like fuse.sshfs, is refused by name), never changes the process' working
// directory or namespaces, and keeps no state.
//
// # Options
//
// The flags of mount(8) and the propagation types are known; anything else is the
// filesystem's and handed to it as it is. "loop" and "direct-io" attach the source
// to a loop device; "uidmap=" and "gidmap=" (both or neither) make an idmapped
// mount; "rro" makes a bind mount and all below it read-only. "X-containerd." options are meant
// for the daemon's mount manager, which takes them out before a shim sees them:
// one that arrives here is an error, as it is in containerd 2.3. Other options
// that begin with "X-" or "x-" are comments, as for mount(8).
//
// # Overlays of many layers
//
// mount(2) takes one page of options. An overlay whose options are longer is made
// layer by layer with fsconfig(2) where the kernel appends layers ("lowerdir+",
// Linux 6.7). Elsewhere its layers are named relative to the directory they
// share, and if that is still too long, by the numbers of open file descriptors
// relative to /proc/self/fd. For both, mount(2) is called on a thread that has a
// working directory of its own and ends with the call.
package mount
