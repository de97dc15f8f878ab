// Command bench measures shims side by side: ours, the one that the machine's
// containerd package brings, and the one of Debian's next release, each driven
// through package client in its own daemon's dialect, with the real runtime.
//
// Measurements take turns (A B C, B C A, …), so that what else the machine does
// falls on all of them alike, and what is told is the median. Times on a busy
// machine are to be read as ratios to the others' in the same run. What a shim adds to
// the runtime is the time of its calls less what the kernel says that the runtime's
// processes took. Bundles, fifos and sockets lie in memory, as on every node.
//
// It owns what it makes, and removes it: temporary directories, shims,
// containers, cgroups. A cache ($HOLDFAST_CACHE, or holdfast in the user's cache
// directory) keeps the shims that it has fetched; they are unpacked there, never
// installed. It never measures with a part that is not real.
//
// It needs root, runc and a statically linked busybox.
//
//	go run ./tests/bench                      everything, in some minutes
//	go run ./tests/bench -quick               a look, in less than one
//	go run ./tests/bench -groups memory       only these groups
//	go run ./tests/bench -check               exit 1 when ours is past its limits
//
// Units: MB are 10⁶ bytes, GiB are 2³⁰.
package main
