package proto_test

import (
	"bytes"
	"errors"
	"testing"

	official "google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/internal/pb"
)

// The first byte of a fuzz target's input picks the message, the rest is decoded.

func FuzzTask(f *testing.F)        { fuzzPairs(f, append(taskPairs, taskV2Pairs...)) }
func FuzzEvents(f *testing.F)      { fuzzPairs(f, eventPairs) }
func FuzzTypes(f *testing.F)       { fuzzPairs(f, typePairs) }
func FuzzRuncOptions(f *testing.F) { fuzzPairs(f, runcPairs) }
func FuzzBootstrap(f *testing.F)   { fuzzPairs(f, bootstrapPairs) }
func FuzzCgroups1(f *testing.F)    { fuzzPairs(f, cgroups1Pairs) }
func FuzzCgroups2(f *testing.F)    { fuzzPairs(f, cgroups2Pairs) }
func FuzzWellKnown(f *testing.F)   { fuzzPairs(f, wellKnownPairs) }

func fuzzPairs(f *testing.F, pairs []pair) {
	seed(f, pairs)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		checkDecoder(t, pairs[int(in[0])%len(pairs)], in[1:])
	})
}

func seed(f *testing.F, pairs []pair) {
	for i, p := range pairs {
		m := p.official()
		newFiller(uint64(i), 0.8).fill(m.ProtoReflect())
		full := deterministic(m)
		for _, b := range [][]byte{nil, full, full[:len(full)/2], withUnknown(full), append(full, full...)} {
			f.Add(append([]byte{byte(i)}, b...))
		}
	}
}

// checkDecoder holds our decoder to the official one: both refuse the same bytes,
// and what both take means the same, also once it has been through our encoder.
// We alone refuse what strict says; the official decoder passes that over as if it
// were unknown.
func checkDecoder(t *testing.T, p pair, b []byte) {
	ours, theirs := p.ours(), p.official()
	err := ours.Unmarshal(b)
	want := official.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, theirs)
	if err != nil {
		if want == nil && !strict(err) {
			t.Fatalf("%s: we refuse what the official decoder takes: %v", p.name(), err)
		}
		return
	}
	if want != nil {
		t.Fatalf("%s: we take what the official decoder refuses: %v", p.name(), want)
	}
	plainZeros(theirs.ProtoReflect())
	sent := encode(t, ours)
	// Unknown to the official decoder are only the fields that we have ahead of it
	// (see ahead): it dropped them from its own reading too.
	got := p.official()
	if err := (official.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(sent, got); err != nil {
		t.Fatalf("%s: the official decoder refuses what we encode: %v", p.name(), err)
	}
	if !official.Equal(got, theirs) {
		t.Fatalf("%s: the official decoder reads\n%v\nand we\n%v", p.name(), theirs, got)
	}
	if again := encode(t, decode(t, p.ours(), sent)); !bytes.Equal(again, sent) {
		t.Fatalf("%s: encoded\n% x\ndecoded and encoded again\n% x", p.name(), sent, again)
	}
}

func strict(err error) bool {
	var field *pb.FieldError
	return errors.As(err, &field) || errors.Is(err, pb.ErrDepth)
}

// plainZeros does to an official message what our structs do: they do not tell a
// negative zero from zero, nor an empty optional string from none.
func plainZeros(m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.Kind() == protoreflect.DoubleKind && v.Float() == 0,
			fd.Kind() == protoreflect.StringKind && fd.HasOptionalKeyword() && v.String() == "":
			m.Clear(fd)
		case fd.IsMap() || fd.Kind() != protoreflect.MessageKind:
		case fd.IsList():
			for i := range v.List().Len() {
				plainZeros(v.List().Get(i).Message())
			}
		default:
			plainZeros(v.Message())
		}
		return true
	})
}

// FuzzWire: through ttrpc's codec a message fares as it does alone, whatever it
// held before.
func FuzzWire(f *testing.F) {
	pairs := allPairs()
	seed(f, pairs)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		p, b := pairs[int(in[0])%len(pairs)], in[1:]
		alone := p.ours()
		want := alone.Unmarshal(b)

		m := p.official()
		newFiller(5, 1).fill(m.ProtoReflect())
		used := decode(t, p.ours(), deterministic(m))
		if err := official.Unmarshal(b, proto.Wire(used)); (err == nil) != (want == nil) {
			t.Fatalf("alone %v, on the wire %v", want, err)
		}
		if want != nil {
			return
		}
		sent, err := official.Marshal(proto.Wire(used))
		if err != nil {
			t.Fatal(err)
		}
		if alone := encode(t, alone); !bytes.Equal(sent, alone) {
			t.Fatalf("alone % x, on the wire % x", alone, sent)
		}
	})
}
