// Package wkt owns protobuf's well-known messages Any, Timestamp and Empty, and
// their ways to and from Go's types.
//
// It never links protobuf's registry, so it cannot say what an Any holds: whoever
// decodes one compares names and switches by hand.
package wkt
