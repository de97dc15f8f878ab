// Package soak runs containers through the shim while everything around them
// goes wrong, all at once and at random: the daemon goes away and comes back,
// shims and runtimes are killed, runtimes and the consumer of events stall,
// clients give up. It checks meanwhile and afterwards what the shim promises: every
// exit is told, once, in order and with its true status; after the death of a
// shim `delete` tells what was told before; and nothing is left.
//
// It goes by rounds. A round has a seed, from which each of its actors draws
// its decisions: what to run, what to break, how long to wait. The same seed takes
// the same decisions again; how they fall together is up to the kernel.
//
//	HOLDFAST_SOAK       how long to go on, as 30m; one round without it
//	HOLDFAST_SOAK_SEED  the first round's seed; the time without it
package soak
