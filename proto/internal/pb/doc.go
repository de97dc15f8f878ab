// Package pb owns what every generated decoder and encoder of ours has in
// common: sizes and bytes of varints, skipping of unknown fields, and the
// errors. The generator puts calls to it where gogo would repeat the functions
// in each file.
//
// It never allocates but for an error that names a field, and does nothing
// at the start of a program.
package pb
