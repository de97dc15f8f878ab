package frame

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// frames builds a stream: type and body of each.
func frames(all ...any) []byte {
	var b []byte
	for i := 0; i < len(all); i += 2 {
		body := []byte(all[i+1].(string))
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = binary.BigEndian.AppendUint32(b, uint32(i+1))
		b = append(b, byte(all[i].(int)), 0)
		b = append(b, body...)
	}
	return b
}

// plain is pass for a stream that has come as a whole.
func plain(stream []byte) (out []byte, heard bool) {
	out = bytes.Clone(stream)
	for rest := out; len(rest) > typeByte; {
		if rest[typeByte] == typeData {
			rest[typeByte] = typeUnknown
		}
		if len(rest) < headerLength {
			break
		}
		heard = true
		body := uint64(binary.BigEndian.Uint32(rest))
		rest = rest[headerLength:]
		if body >= uint64(len(rest)) {
			break
		}
		rest = rest[body:]
	}
	return out, heard
}

func FuzzHeaders(f *testing.F) {
	f.Add([]byte{}, uint8(1))
	f.Add(frames(1, "request", 3, "data", 3, "", 1, "\x00\x00\x00\x00\x00\x00\x00\x03\x03\x03"), uint8(3))
	f.Add(frames(3, "data")[:9], uint8(10))
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x00\x01\x03\x00and so on"), uint8(4))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		want, heard := plain(stream)
		var h headers
		got, any := bytes.Clone(stream), false
		for rest := got; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			if h.pass(rest[:n]) {
				any = true
			}
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) || any != heard {
			t.Errorf("in pieces of %d:\n%x, heard %v, want\n%x, heard %v", size+1, got, any, want, heard)
		}
	})
}
