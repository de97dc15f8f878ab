package pb

import (
	"io"
	"math/bits"
)

// MaxField is the largest field number that protobuf allows.
const MaxField = 1<<29 - 1

// VarintSize is the number of bytes, 1 to 10, that v takes as a varint.
func VarintSize(v uint64) int {
	return (bits.Len64(v|1) + 6) / 7
}

// PutVarint writes v so that it ends just before offset and returns where it
// begins: messages are written from their end to their start. The caller has
// sized b for it.
func PutVarint(b []byte, offset int, v uint64) int {
	offset -= VarintSize(v)
	at := offset
	for v >= 1<<7 {
		b[at] = uint8(v&0x7f | 0x80)
		v >>= 7
		at++
	}
	b[at] = uint8(v)
	return offset
}

// Varint reads the varint at the start of b: its value and its length in bytes.
func Varint(b []byte) (v uint64, n int, err error) {
	for n, c := range b {
		if n == 9 && c > 1 {
			return 0, 0, ErrVarint
		}
		v |= uint64(c&0x7f) << (7 * n)
		if c < 0x80 {
			return v, n + 1, nil
		}
	}
	return 0, 0, io.ErrUnexpectedEOF
}
