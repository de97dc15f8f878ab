// Package stress holds tests that do the ordinary many times over, several at a
// time, with the real shim and runtime under package harness: what goes wrong
// once in a thousand times shows here, and so does what is left behind each time.
//
// HOLDFAST_STRESS says how many times; it is 200 by default, so that the tests
// can be run with all others, and 2000 is a fair night's work.
//
// It never measures: a slow machine passes.
package stress
