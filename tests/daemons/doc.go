// Command daemons runs the tests of package tests/containerd under every
// containerd that nodes run, and prints what works where: a table of daemons and
// scenarios, which README's table is checked against.
//
// It owns the daemons' programs: Debian's packages, unpacked into a cache and never
// installed. What a daemon does and leaves is the tests' matter: each test has one
// of its own, whose executable it proves, as it proves that of the shim.
//
// With -all it runs every test of the package, with -long the long forms of
// those that have one.
package main
