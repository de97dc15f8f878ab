//go:build !race

package harness

// RaceEnabled says whether the tests, and the programs that they build, run with the race
// detector, which has a memory and a pace of its own.
const RaceEnabled = false
