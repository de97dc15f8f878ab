package proto

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/runtime/protoiface"
)

// Wire makes m passable to ttrpc, whose codec takes nothing but messages of
// google.golang.org/protobuf. The result holds m: what is decoded into the one is
// in the other.
//
// That module's Marshal, Unmarshal, Reset, Size and CheckInitialized work on it, and
// reach m's own methods through ProtoMethods; of the rest they call ProtoReflect,
// Interface and IsValid only. Unmarshal empties m first. What looks into a message
// field by field (Merge, Equal, Clone, the text and JSON encodings) does not work:
// m has no descriptor to look by, and Get, Set and their like panic saying so.
//
// A nil m, also a nil pointer of a message's type, encodes as an empty message;
// decoding into one panics as every write through a nil pointer does, but for an m
// that is nil without a type, which answers an error.
func Wire(m Message) protoreflect.ProtoMessage {
	return &wire{m}
}

// wire is both the message and its reflection, so that a call costs one
// allocation of two words.
type wire struct{ m Message }

var _ protoreflect.Message = (*wire)(nil)

const (
	errNil    = wireError("proto: decoding into nil")
	errFields = wireError("proto: a message on the wire has no fields to reflect on")
)

type wireError string

func (e wireError) Error() string { return string(e) }

// methods is laid out by the linker; nothing runs to make it.
var methods = protoiface.Methods{
	Flags:            protoiface.SupportMarshalDeterministic | protoiface.SupportUnmarshalDiscardUnknown,
	Size:             wireSize,
	Marshal:          wireMarshal,
	Unmarshal:        wireUnmarshal,
	CheckInitialized: wireCheckInitialized,
}

func wireSize(in protoiface.SizeInput) protoiface.SizeOutput {
	w := in.Message.(*wire)
	if w.m == nil {
		return protoiface.SizeOutput{}
	}
	return protoiface.SizeOutput{Size: w.m.Size()}
}

// wireMarshal appends to in.Buf, which Size has made large enough as a rule.
func wireMarshal(in protoiface.MarshalInput) (protoiface.MarshalOutput, error) {
	w, out := in.Message.(*wire), protoiface.MarshalOutput{Buf: in.Buf}
	if w.m == nil {
		return out, nil
	}
	size, old := w.m.Size(), len(in.Buf)
	if cap(in.Buf)-old < size {
		out.Buf = append(make([]byte, 0, old+size), in.Buf...)
	}
	n, err := w.m.MarshalTo(out.Buf[old : old+size])
	out.Buf = out.Buf[:old+n]
	return out, err
}

func wireUnmarshal(in protoiface.UnmarshalInput) (protoiface.UnmarshalOutput, error) {
	// Our messages have no required fields.
	out := protoiface.UnmarshalOutput{Flags: protoiface.UnmarshalInitialized}
	w := in.Message.(*wire)
	if w.m == nil {
		return out, errNil
	}
	return out, w.m.Unmarshal(in.Buf)
}

func wireCheckInitialized(protoiface.CheckInitializedInput) (protoiface.CheckInitializedOutput, error) {
	return protoiface.CheckInitializedOutput{}, nil
}

func (w *wire) ProtoReflect() protoreflect.Message { return w }

func (w *wire) ProtoMethods() *protoiface.Methods { return &methods }

func (w *wire) Interface() protoreflect.ProtoMessage { return w }

func (w *wire) IsValid() bool { return w != nil && w.m != nil }

// Reset is what the module calls before it decodes.
func (w *wire) Reset() {
	if w.m != nil {
		w.m.Reset()
	}
}

// To those who ask, there are no fields here.

func (w *wire) Descriptor() protoreflect.MessageDescriptor { return nil }

func (w *wire) Type() protoreflect.MessageType { return nil }

func (w *wire) Range(func(protoreflect.FieldDescriptor, protoreflect.Value) bool) {}

func (w *wire) Has(protoreflect.FieldDescriptor) bool { return false }

func (w *wire) WhichOneof(protoreflect.OneofDescriptor) protoreflect.FieldDescriptor { return nil }

func (w *wire) GetUnknown() protoreflect.RawFields { return nil }

// What would read or change a field is a mistake in the program, not in its input.

func (w *wire) New() protoreflect.Message                                { panic(errFields) }
func (w *wire) Clear(protoreflect.FieldDescriptor)                       { panic(errFields) }
func (w *wire) Get(protoreflect.FieldDescriptor) protoreflect.Value      { panic(errFields) }
func (w *wire) Set(protoreflect.FieldDescriptor, protoreflect.Value)     { panic(errFields) }
func (w *wire) Mutable(protoreflect.FieldDescriptor) protoreflect.Value  { panic(errFields) }
func (w *wire) NewField(protoreflect.FieldDescriptor) protoreflect.Value { panic(errFields) }
func (w *wire) SetUnknown(protoreflect.RawFields)                        { panic(errFields) }
