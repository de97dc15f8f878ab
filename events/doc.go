// Package events carries what happened to containerd: one ordered queue that
// loses nothing, emptied by one goroutine.
//
// Publishing never waits. While containerd is away the queue grows by some
// 200 bytes an event and the goroutine tries again, at most a second apart;
// when containerd is back everything arrives in the order it happened.
//
// The package knows neither containers nor what an event means.
package events
