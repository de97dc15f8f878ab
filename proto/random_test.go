package proto_test

import (
	"math/rand/v2"

	official "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A filler gives messages random contents by their descriptors. Each field is set
// with the probability odds; 1 sets all of them.
type filler struct {
	*rand.Rand
	odds float64
}

func newFiller(seed uint64, odds float64) *filler {
	return &filler{rand.New(rand.NewPCG(seed, 1)), odds}
}

func (f *filler) fill(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if f.Float64() >= f.odds {
			continue
		}
		switch {
		case fd.IsMap():
			for range 1 + f.IntN(3) {
				m.Mutable(fd).Map().Set(f.value(fd.MapKey(), nil).MapKey(), f.value(fd.MapValue(), nil))
			}
		case fd.IsList():
			list := m.Mutable(fd).List()
			for range 1 + f.IntN(3) {
				list.Append(f.value(fd, list.NewElement))
			}
		default:
			m.Set(fd, f.value(fd, func() protoreflect.Value { return m.NewField(fd) }))
		}
	}
}

// value is never the zero value, so that what is set is on the wire; element makes
// an empty message where the field is one.
func (f *filler) value(fd protoreflect.FieldDescriptor, element func() protoreflect.Value) protoreflect.Value {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		n := protoreflect.EnumNumber(f.bits())
		if values := fd.Enum().Values(); f.IntN(2) == 0 {
			n = values.Get(f.IntN(values.Len())).Number()
		}
		return protoreflect.ValueOfEnum(n)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(int32(f.bits()) | 1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(int64(f.bits()) | 1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(uint32(f.bits()) | 1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(f.bits() | 1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(f.NormFloat64() + 1000)
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.text())
	case protoreflect.BytesKind:
		b := make([]byte, 1+f.IntN(200))
		for i := range b {
			b[i] = byte(f.Uint32())
		}
		return protoreflect.ValueOfBytes(b)
	case protoreflect.MessageKind:
		v := element()
		f.fill(v.Message())
		return v
	}
	panic("no messages of containerd's have a " + fd.Kind().String())
}

// bits has any length from none to 64, so that varints of every length appear.
func (f *filler) bits() uint64 { return f.Uint64() >> f.IntN(65) }

func (f *filler) text() string {
	const letters = "abc/.-_:0 \x00\x7fäß→容\U0001F980"
	runes := []rune(letters)
	out := make([]rune, 1+f.IntN(1<<f.IntN(9)))
	for i := range out {
		out[i] = runes[f.IntN(len(runes))]
	}
	return string(out)
}

// deterministic encodes equal messages to equal bytes, within one build.
func deterministic(m official.Message) []byte {
	b, err := official.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}
