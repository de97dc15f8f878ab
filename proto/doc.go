// Package proto owns how messages travel: what every generated message can do, the
// adapter that carries one through ttrpc, and packing into an Any.
//
// The messages are generated (make proto) from the .proto files in the folders
// beside this file, in plain Go without reflection, registry or descriptors: nothing
// of them runs or is allocated when a program starts. Encoding writes map keys in
// sorted order, so equal messages give equal bytes. Decoding merges into what is
// there already, as protobuf defines it, skips fields it does not know and forgets
// them, and refuses strings that are not UTF-8 and fields whose wire type is not
// theirs.
//
// It never looks up a message by its name: who gets an Any knows what it may be.
package proto
