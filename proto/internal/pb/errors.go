package pb

import "strconv"

// Error is what is wrong with bytes that should be a message. Its values are
// constants, so that nothing is made at the start of a program and errors.Is
// works by plain comparison.
type Error string

func (e Error) Error() string { return string(e) }

// What a decoder can find. Input that ends too early is io.ErrUnexpectedEOF.
const (
	ErrVarint   = Error("proto: varint longer than 64 bits")
	ErrLength   = Error("proto: length out of range")
	ErrTag      = Error("proto: field number out of range")
	ErrWireType = Error("proto: unknown wire type")
	ErrEndGroup = Error("proto: end of a group that did not begin")
	ErrDepth    = Error("proto: groups nested too deep")
	ErrUTF8     = Error("proto: string is not valid UTF-8")
)

// FieldError says that a known field came in a wire type that is not its own.
type FieldError struct {
	Field    string // the Go name of the field
	WireType int    // the one that came
}

func (e *FieldError) Error() string {
	return "proto: wire type " + strconv.Itoa(e.WireType) + " for field " + e.Field
}

// BadField is FieldError as an expression.
func BadField(name string, wireType int) error {
	return &FieldError{Field: name, WireType: wireType}
}
