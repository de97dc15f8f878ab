package pb

import (
	"io"
	"math"
)

const (
	typeVarint     = 0
	typeFixed64    = 1
	typeBytes      = 2
	typeStartGroup = 3
	typeEndGroup   = 4
	typeFixed32    = 5

	// maxGroups is how deep unknown groups may nest. Nothing of containerd's has
	// any; the limit keeps bytes from choosing how far the stack grows.
	maxGroups = 100
)

// Skip returns the length, tag and all, of the field at the start of b, or why it
// cannot be told. The length is never 0 and never more than len(b).
func Skip(b []byte) (int, error) {
	return skip(b, 0)
}

func skip(b []byte, depth int) (int, error) {
	num, wireType, at, err := tag(b)
	if err != nil {
		return 0, err
	}
	var n int
	switch wireType {
	case typeVarint:
		_, n, err = Varint(b[at:])
	case typeFixed64:
		n = 8
	case typeFixed32:
		n = 4
	case typeBytes:
		n, err = skipBytes(b[at:])
	case typeStartGroup:
		n, err = skipGroup(b[at:], num, depth+1)
	case typeEndGroup:
		err = ErrEndGroup
	default:
		err = ErrWireType
	}
	if err != nil {
		return 0, err
	}
	if n > len(b)-at {
		return 0, io.ErrUnexpectedEOF
	}
	return at + n, nil
}

// skipBytes passes over a length and as many bytes.
func skipBytes(b []byte) (int, error) {
	size, n, err := Varint(b)
	if err != nil {
		return 0, err
	}
	if size > uint64(len(b)-n) {
		return 0, io.ErrUnexpectedEOF
	}
	return n + int(size), nil
}

// skipGroup passes over the fields of the group num and the tag that ends it.
func skipGroup(b []byte, num uint64, depth int) (int, error) {
	if depth > maxGroups {
		return 0, ErrDepth
	}
	at := 0
	for {
		next, wireType, n, err := tag(b[at:])
		if err != nil {
			return 0, err
		}
		if wireType == typeEndGroup {
			if next != num {
				return 0, ErrEndGroup
			}
			return at + n, nil
		}
		if n, err = skip(b[at:], depth); err != nil {
			return 0, err
		}
		at += n
	}
}

// tag reads what every field begins with. As in protobuf's own decoder, the number
// may be anything of 31 bits here: whoever looks for a field of its own holds it
// to MaxField, and inside a group that is passed over nobody minds.
func tag(b []byte) (num, wireType uint64, n int, err error) {
	v, n, err := Varint(b)
	if err != nil {
		return 0, 0, 0, err
	}
	if num = v >> 3; num == 0 || num > math.MaxInt32 {
		return 0, 0, 0, ErrTag
	}
	return num, v & 7, n, nil
}
