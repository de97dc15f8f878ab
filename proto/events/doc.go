// Package events owns the messages of the events that a shim publishes, and both
// sides of the service that takes them (containerd.services.events.ttrpc.v1.Events).
//
// It never queues, orders or repeats anything.
package events
