package proto_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	official "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/internal/pb"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
)

func eachPair(t *testing.T, check func(t *testing.T, p pair)) {
	for _, p := range allPairs() {
		t.Run(p.name(), func(t *testing.T) { check(t, p) })
	}
}

func decode(t *testing.T, m proto.Message, b []byte) proto.Message {
	t.Helper()
	if err := m.Unmarshal(b); err != nil {
		t.Fatalf("our decoder: %v", err)
	}
	return m
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := m.Marshal()
	if err != nil {
		t.Fatalf("our encoder: %v", err)
	}
	if n := m.Size(); n != len(b) {
		t.Fatalf("Size says %d, the encoding has %d bytes", n, len(b))
	}
	return b
}

func decodeOfficial(t *testing.T, m official.Message, b []byte) official.Message {
	t.Helper()
	if err := official.Unmarshal(b, m); err != nil {
		t.Fatalf("the official decoder: %v", err)
	}
	return m
}

// roundTrip sends want from the official encoder through our decoder and encoder to
// the official decoder, and from there once more through ours.
func roundTrip(t *testing.T, p pair, want official.Message) {
	t.Helper()
	ours := decode(t, p.ours(), deterministic(want))
	sent := encode(t, ours)
	got := decodeOfficial(t, want.ProtoReflect().New().Interface(), sent)
	if !official.Equal(got, want) {
		t.Fatalf("through our code\n%v\nbecame\n%v", want, got)
	}
	if len(got.ProtoReflect().GetUnknown()) != 0 {
		t.Fatalf("we sent fields that %s does not have", p.name())
	}
	if again := decode(t, p.ours(), deterministic(got)); !reflect.DeepEqual(again, ours) {
		t.Fatalf("back from the official code\n%+v\nbecame\n%+v", ours, again)
	}
}

func TestAllFieldsSetSurviveBothWays(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		m := p.official()
		newFiller(1, 1).fill(m.ProtoReflect())
		roundTrip(t, p, m)
	})
}

func TestRandomContentsSurviveBothWays(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		for seed := range uint64(200) {
			m := p.official()
			newFiller(seed, float64(seed%11)/10).fill(m.ProtoReflect())
			roundTrip(t, p, m)
		}
	})
}

// What our files have and the official modules do not yet, only our own
// descriptors know.
func TestRandomContentsByOurOwnDescriptorsSurvive(t *testing.T) {
	ours := ourDescriptors(t)
	eachPair(t, func(t *testing.T, p pair) {
		d := findMessage(t, ours, p.ours().TypeURL())
		for seed := range uint64(100) {
			m := dynamicpb.NewMessage(d)
			newFiller(seed, float64(seed%10+1)/10).fill(m)
			roundTrip(t, p, m)
		}
	})
}

func TestEmptyIsNothing(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		if b := encode(t, p.ours()); len(b) != 0 {
			t.Errorf("an empty message encodes to % x", b)
		}
		if m := decode(t, p.ours(), nil); !reflect.DeepEqual(m, p.ours()) {
			t.Errorf("nothing decodes to %+v", m)
		}
		m := p.official()
		newFiller(1, 1).fill(m.ProtoReflect())
		full := decode(t, p.ours(), deterministic(m))
		full.Reset()
		if !reflect.DeepEqual(full, p.ours()) {
			t.Errorf("Reset leaves %+v", full)
		}
	})
}

// unknown is one field of every wire type under a number nobody uses, the group
// with a group inside.
func unknown() []byte {
	const num = 20011
	b := protowire.AppendTag(nil, num, protowire.VarintType)
	b = protowire.AppendVarint(b, 1<<63)
	b = protowire.AppendTag(b, num, protowire.Fixed32Type)
	b = protowire.AppendFixed32(b, 7)
	b = protowire.AppendTag(b, num, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, 7)
	b = protowire.AppendTag(b, num, protowire.BytesType)
	b = protowire.AppendString(b, "not of this version")
	b = protowire.AppendTag(b, num, protowire.StartGroupType)
	b = protowire.AppendTag(b, num+1, protowire.StartGroupType)
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, 1)
	b = protowire.AppendTag(b, num+1, protowire.EndGroupType)
	return protowire.AppendTag(b, num, protowire.EndGroupType)
}

// withUnknown puts unknown fields before, between and after the fields of b.
func withUnknown(b []byte) []byte {
	out := unknown()
	for len(b) > 0 {
		_, _, n := protowire.ConsumeField(b)
		out = append(append(out, b[:n]...), unknown()...)
		b = b[n:]
	}
	return out
}

func TestUnknownFieldsArePassedOver(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		m := p.official()
		newFiller(2, 0.9).fill(m.ProtoReflect())
		plain := deterministic(m)
		want, got := decode(t, p.ours(), plain), decode(t, p.ours(), withUnknown(plain))
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("with unknown fields about\n%+v\nbecame\n%+v", want, got)
		}
	})
}

// Protobuf has it that two encodings, one after the other, are their merging.
func TestDecodingMergesAsProtobufDoes(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		for seed := range uint64(50) {
			first, second := p.official(), p.official()
			newFiller(seed, 0.5).fill(first.ProtoReflect())
			newFiller(seed+1000, 0.5).fill(second.ProtoReflect())
			both := append(deterministic(first), deterministic(second)...)

			want := decodeOfficial(t, p.official(), both)
			got := decodeOfficial(t, p.official(), encode(t, decode(t, p.ours(), both)))
			if !official.Equal(got, want) {
				t.Fatalf("merging\n%v\nand\n%v\nmade\n%v\nand not\n%v", first, second, got, want)
			}
		}
	})
}

func TestEqualMessagesGiveEqualBytes(t *testing.T) {
	m := &types.RuntimeInfo{Annotations: map[string]string{}}
	for _, k := range []string{"d", "a", "c", "", "b", "e", "g", "f"} {
		m.Annotations[k] = "value of " + k
	}
	want := encode(t, m)
	for range 50 {
		if got := encode(t, m); !bytes.Equal(got, want) {
			t.Fatalf("% x\nand then\n% x", want, got)
		}
	}
}

// A full message, cut anywhere, is an error or a shorter message, as with the
// official decoder; never a crash.
func TestCutOffBytesAreRefusedAsTheOfficialDecoderDoes(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		m := p.official()
		newFiller(3, 1).fill(m.ProtoReflect())
		b := deterministic(m)
		for n := range b {
			err, want := p.ours().Unmarshal(b[:n]), official.Unmarshal(b[:n], p.official())
			if (err == nil) != (want == nil) {
				t.Fatalf("the first %d of %d bytes: %v; official: %v", n, len(b), err, want)
			}
		}
	})
}

func TestStringsMustBeUTF8(t *testing.T) {
	bad := "caf\xe9"
	for name, m := range map[string]proto.Message{
		"string": &task.StateRequest{Id: bad},
		"list":   &types.Mount{Options: []string{"ro", bad}},
		"inside": &task.CreateTaskRequest{Rootfs: []*types.Mount{{Source: bad}}},
		"key":    &task.UpdateTaskRequest{Annotations: map[string]string{bad: "v"}},
		"value":  &task.UpdateTaskRequest{Annotations: map[string]string{"k": bad}},
	} {
		b := encode(t, m)
		if err := m.Unmarshal(b); !errors.Is(err, pb.ErrUTF8) {
			t.Errorf("%s: %v, want %v", name, err, pb.ErrUTF8)
		}
	}
}

func TestAFieldOfAnotherWireTypeIsNamed(t *testing.T) {
	// Field 3 of StateResponse is a number; here it is a string.
	b := protowire.AppendTag(nil, 3, protowire.BytesType)
	b = protowire.AppendString(b, "12")
	var bad *pb.FieldError
	if err := new(task.StateResponse).Unmarshal(b); !errors.As(err, &bad) || bad.Field != "Pid" {
		t.Errorf("%v, want an error about Pid", err)
	}
}

func TestAMapsEntryEndsWhereItsLengthSays(t *testing.T) {
	// The entry has 3 bytes; the key within claims 9 and would find them outside.
	b := protowire.AppendTag(nil, 3, protowire.BytesType)
	b = append(b, 3, 0x0a, 9, 'k')
	b = append(b, "outside it"...)
	if err := new(task.UpdateTaskRequest).Unmarshal(b); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, want %v", err, io.ErrUnexpectedEOF)
	}
}

func TestNilMessagesAreEmptyOnes(t *testing.T) {
	var none *types.Mount
	if b := encode(t, none); len(b) != 0 {
		t.Errorf("nil encodes to % x", b)
	}
	got := encode(t, &task.CreateTaskRequest{Rootfs: []*types.Mount{nil, {Type: "bind"}}})
	want := encode(t, &task.CreateTaskRequest{Rootfs: []*types.Mount{{}, {Type: "bind"}}})
	if !bytes.Equal(got, want) {
		t.Errorf("with a nil in the list % x, want % x", got, want)
	}
}

func TestDecodingKeepsNothingOfItsInput(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		m := p.official()
		newFiller(4, 1).fill(m.ProtoReflect())
		b := deterministic(m)
		ours := decode(t, p.ours(), b)
		want := encode(t, ours)
		clear(b)
		if got := encode(t, ours); !bytes.Equal(got, want) {
			t.Error("the message changed with the bytes it was decoded from")
		}
	})
}
