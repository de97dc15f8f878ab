package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
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

// plain is what a server gets of a stream that has come as a whole, and whether a
// header is in it.
func plain(stream []byte, large uint32) (out []byte, heard bool) {
	out = bytes.Clone(stream)
	for at := 0; len(out)-at > typeByte; {
		rest := out[at:]
		if rest[typeByte] == typeData {
			rest[typeByte] = typeUnknown
		}
		if len(rest) < headerLength {
			break
		}
		heard = true
		body := binary.BigEndian.Uint32(rest)
		if rest = rest[headerLength:]; uint64(body) > uint64(len(rest)) {
			if body > large && body <= most {
				out = out[:at+headerLength-1] // held for ever
			}
			break
		}
		at += headerLength + int(body)
	}
	return out, heard
}

// pieces is a connection that gives so many bytes at a time.
type pieces struct {
	net.Conn
	rest []byte
	size int
}

func (c *pieces) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, errors.New("reset by peer")
	}
	n := copy(p[:min(len(p), c.size)], c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func FuzzConn(f *testing.F) {
	f.Add([]byte{}, uint8(1), uint8(1), uint8(0))
	f.Add(frames(1, "request", 3, "data", 3, "", 1, "\x00\x00\x00\x00\x00\x00\x00\x03\x03\x03"), uint8(3), uint8(2), uint8(4))
	f.Add(frames(3, "data")[:9], uint8(10), uint8(100), uint8(0))
	f.Add(frames(1, "a large one", 1, "small", 3, "a large one that does not come")[:50], uint8(7), uint8(40), uint8(6))
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x00\x01\x03\x00and so on"), uint8(4), uint8(4), uint8(1))
	f.Add([]byte("\x00\x40\x00\x00\x00\x00\x00\x01\x01\x00and no more"), uint8(4), uint8(4), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, come, taken, above uint8) {
		want, heard := plain(stream, uint32(above))
		c := New(&pieces{rest: bytes.Clone(stream), size: int(come) + 1}, nil)
		c.large = uint32(above)
		var got []byte
		p := make([]byte, int(taken)+1)
		for {
			n, err := c.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil || n == 0 {
				t.Fatalf("read %d bytes, %v", n, err)
			}
		}
		if !bytes.Equal(got, want) || c.Heard() != heard {
			t.Errorf("%d at a time: %x, heard %v; want %x, %v", come+1, got, c.Heard(), want, heard)
		}
		if c.need > 0 && cap(c.held) > 4*len(stream)+1024 { // slices grow by leaps
			t.Errorf("%d bytes of memory for %d that have come", cap(c.held), len(stream))
		}
	})
}
