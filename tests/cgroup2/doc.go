// Command cgroup2 runs tests in a machine that has cgroup version 2 alone: a
// Debian cloud kernel in qemu, emulated in software where the processor cannot do
// better, with a root filesystem of busybox, the OCI runtimes, the shim and
// compiled test binaries. It needs root for nothing but installing packages; the
// tests are root inside.
//
//	go run ./tests/cgroup2 [-all] [-run REGEXP] [-v] [-limit DURATION] [suite ...]
//
// Without arguments it runs every suite of the table in suites.go; of the end-to-end
// tests those to which the cgroup version and the runtime matter, and with -all every
// one. What the tests
// print comes back over a serial line, what the kernel prints over another. It
// exits with 1 if a test failed, if the machine ended before its tests did, or
// when the limit has passed; the kernel's last words are told then.
//
// The kernel is fetched once by apt-get, as a package that is unpacked into
// $HOLDFAST_CACHE (or the user's cache directory) and never installed. The machine
// has no network and no disk, and nothing of the host's but what is copied into
// its image.
//
// HOLDFAST_SHIM names another shim's binary to put into it; HOLDFAST_OOMS and
// HOLDFAST_STRESS mean in there what they mean outside.
package main
