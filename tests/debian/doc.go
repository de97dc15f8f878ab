// Package debian brings programs of Debian's packages to tests: of the suite
// that the machine has, or of another. A package is fetched by apt from the
// mirror that this machine is set up for, checked by its signature, and unpacked
// below a cache that is kept from run to run. Nothing is installed, and nothing
// that belongs to the machine's own apt is written, but for the lists of a
// machine that has none yet.
//
// It says nothing of what the programs are for.
package debian
