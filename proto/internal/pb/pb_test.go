package pb

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

var numbers = []uint64{0, 1, 127, 128, 300, 1<<14 - 1, 1 << 14, math.MaxInt32, math.MaxUint32, 1<<63 - 1, 1 << 63, math.MaxUint64}

func TestVarintsAreProtobufs(t *testing.T) {
	for _, v := range numbers {
		want := protowire.AppendVarint(nil, v)
		if n := VarintSize(v); n != len(want) {
			t.Errorf("VarintSize(%d) = %d, want %d", v, n, len(want))
		}
		b := make([]byte, 12)
		at := PutVarint(b, 11, v)
		if got := b[at:11]; !bytes.Equal(got, want) {
			t.Errorf("PutVarint(%d) wrote % x, want % x", v, got, want)
		}
		if b[11] != 0 {
			t.Errorf("PutVarint(%d) wrote past its offset", v)
		}
		if got, n, err := Varint(append(want, 0xff)); got != v || n != len(want) || err != nil {
			t.Errorf("Varint(%d) = %d, %d, %v", v, got, n, err)
		}
	}
}

func TestVarintTellsShortFromLong(t *testing.T) {
	ten := bytes.Repeat([]byte{0x80}, 10)
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"cut off", []byte{0x80, 0x80}, io.ErrUnexpectedEOF},
		{"nine bytes, cut off", ten[:9], io.ErrUnexpectedEOF},
		{"a 65th bit", append(ten[:9:9], 0x02), ErrVarint},
		{"an eleventh byte", append(ten[:10:10], 0x01), ErrVarint},
	} {
		if _, _, err := Varint(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestSkipSaysWhatIsWrong(t *testing.T) {
	deep := bytes.Repeat([]byte{0x0b}, maxGroups+1)
	for i := 0; i <= maxGroups; i++ {
		deep = append(deep, 0x0c)
	}
	if n, err := Skip(deep[1 : len(deep)-1]); err != nil || n != len(deep)-2 {
		t.Errorf("as deep as may be: %d, %v", n, err)
	}
	for _, c := range []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, io.ErrUnexpectedEOF},
		{"field 0", []byte{0x00, 0x00}, ErrTag},
		{"field 2^31", protowire.AppendVarint(nil, 1<<34), ErrTag},
		{"wire type 6", []byte{0x0e}, ErrWireType},
		{"wire type 7", []byte{0x0f}, ErrWireType},
		{"short fixed32", []byte{0x0d, 1, 2, 3}, io.ErrUnexpectedEOF},
		{"short fixed64", []byte{0x09, 1, 2, 3, 4, 5, 6, 7}, io.ErrUnexpectedEOF},
		{"short bytes", []byte{0x0a, 3, 1, 2}, io.ErrUnexpectedEOF},
		{"length of 2^63", append([]byte{0x0a}, protowire.AppendVarint(nil, 1<<63)...), io.ErrUnexpectedEOF},
		{"end of no group", []byte{0x0c}, ErrEndGroup},
		{"end of another group", []byte{0x0b, 0x14}, ErrEndGroup},
		{"open group", []byte{0x0b, 0x08, 0x01}, io.ErrUnexpectedEOF},
		{"too deep", deep, ErrDepth},
	} {
		if n, err := Skip(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v, want %v", c.name, n, err, c.want)
		}
	}
}

func TestFieldErrorNamesTheField(t *testing.T) {
	err := BadField("ExitStatus", 2)
	var bad *FieldError
	if !errors.As(err, &bad) || bad.Field != "ExitStatus" || bad.WireType != 2 {
		t.Fatalf("%#v", err)
	}
	if want := "proto: wire type 2 for field ExitStatus"; err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
}

// FuzzSkip holds Skip to what protobuf's own decoder makes of the same bytes, but
// for groups nested deeper than we go.
func FuzzSkip(f *testing.F) {
	f.Add([]byte{0x08, 0x96, 0x01})
	f.Add([]byte{0x0a, 0x03, 'a', 'b', 'c'})
	f.Add([]byte{0x0b, 0x13, 0x0d, 1, 2, 3, 4, 0x14, 0x0c})
	f.Add([]byte{0x0b, 0x14})
	f.Add([]byte{0x09, 1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Skip(b)
		if errors.Is(err, ErrDepth) {
			return
		}
		_, _, want := protowire.ConsumeField(b)
		if (err != nil) != (want < 0) || err == nil && n != want {
			t.Fatalf("Skip(% x) = %d, %v; protowire says %d", b, n, err, want)
		}
	})
}
