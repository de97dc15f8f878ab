package pb

import "io"

const (
	typeVarint     = 0
	typeFixed64    = 1
	typeBytes      = 2
	typeStartGroup = 3
	typeEndGroup   = 4
	typeFixed32    = 5

	// maxGroups is how deep groups may nest; as deep as protobuf's own decoder
	// goes.
	maxGroups = 10000
)

// Skip returns the length of the field, tag and all, at the start of b, or why
// it cannot be told. The length is never more than len(b) and never 0. Groups
// inside groups are counted, not called for, so that no input makes the stack
// grow.
func Skip(b []byte) (int, error) {
	at, groups := 0, 0
	for {
		tag, n, err := Varint(b[at:])
		if err != nil {
			return 0, err
		}
		if num := tag >> 3; num == 0 || num > MaxField {
			return 0, ErrTag
		}
		at += n
		switch tag & 7 {
		case typeVarint:
			_, n, err := Varint(b[at:])
			if err != nil {
				return 0, err
			}
			at += n
		case typeFixed64:
			at += 8
		case typeFixed32:
			at += 4
		case typeBytes:
			size, n, err := Varint(b[at:])
			if err != nil {
				return 0, err
			}
			at += n
			if size > uint64(len(b)-at) {
				return 0, io.ErrUnexpectedEOF
			}
			at += int(size)
		case typeStartGroup:
			if groups++; groups > maxGroups {
				return 0, ErrLength
			}
		case typeEndGroup:
			if groups--; groups < 0 {
				return 0, ErrEndGroup
			}
		default:
			return 0, ErrWireType
		}
		if at > len(b) {
			return 0, io.ErrUnexpectedEOF
		}
		if groups == 0 {
			return at, nil
		}
	}
}
