package proto_test

import (
	"bytes"
	"reflect"
	"testing"

	official "google.golang.org/protobuf/proto"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

func TestWireCarriesEveryMessage(t *testing.T) {
	eachPair(t, func(t *testing.T, p pair) {
		m := p.official()
		newFiller(6, 1).fill(m.ProtoReflect())
		want := decode(t, p.ours(), deterministic(m))
		b, err := official.Marshal(proto.Wire(want))
		if err != nil {
			t.Fatal(err)
		}
		if n := official.Size(proto.Wire(want)); n != len(b) {
			t.Errorf("Size %d of %d bytes", n, len(b))
		}
		got := p.ours()
		if err := official.Unmarshal(b, proto.Wire(got)); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got\n%+v, want\n%+v", got, want)
		}
	})
}

func TestWireEmptiesAMessageBeforeItDecodes(t *testing.T) {
	m := &task.StateRequest{Id: "old", ExecId: "old"}
	b := encode(t, &task.StateRequest{Id: "new"})
	if err := official.Unmarshal(b, proto.Wire(m)); err != nil {
		t.Fatal(err)
	}
	if want := (task.StateRequest{Id: "new"}); *m != want {
		t.Errorf("%+v, want %+v", *m, want)
	}
	// With Merge, as the module has it, nothing is emptied.
	b = encode(t, &task.StateRequest{ExecId: "merged"})
	if err := (official.UnmarshalOptions{Merge: true}).Unmarshal(b, proto.Wire(m)); err != nil {
		t.Fatal(err)
	}
	if want := (task.StateRequest{Id: "new", ExecId: "merged"}); *m != want {
		t.Errorf("%+v, want %+v", *m, want)
	}
}

func TestWireWithEveryOptionOfTheModule(t *testing.T) {
	m := &task.UpdateTaskRequest{Id: "c", Annotations: map[string]string{"b": "2", "a": "1"}}
	want := encode(t, m)
	w := proto.Wire(m)
	for name, o := range map[string]official.MarshalOptions{
		"deterministic": {Deterministic: true},
		"partial":       {AllowPartial: true},
		"cached size":   {UseCachedSize: true},
	} {
		got, err := o.Marshal(w)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: % x, %v, want % x", name, got, err, want)
		}
		prefix := append(make([]byte, 0, 500), "before"...)
		got, err = o.MarshalAppend(prefix, w)
		if err != nil || string(got) != "before"+string(want) {
			t.Errorf("%s, appending: % x, %v", name, got, err)
		}
		if got, err = o.MarshalAppend([]byte("before"), w); err != nil || string(got) != "before"+string(want) {
			t.Errorf("%s, appending where nothing fits: % x, %v", name, got, err)
		}
	}
	got := new(task.UpdateTaskRequest)
	if err := (official.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(withUnknown(want), proto.Wire(got)); err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := official.CheckInitialized(w); err != nil {
		t.Error(err)
	}
	official.Reset(w)
	if !reflect.DeepEqual(m, new(task.UpdateTaskRequest)) {
		t.Errorf("Reset left %+v", m)
	}
}

func TestWireOfNilIsEmptyAndTakesNothing(t *testing.T) {
	for name, m := range map[string]proto.Message{"nil": nil, "a nil pointer": (*task.StateResponse)(nil)} {
		if b, err := official.Marshal(proto.Wire(m)); err != nil || len(b) != 0 {
			t.Errorf("%s: % x, %v", name, b, err)
		}
		if n := official.Size(proto.Wire(m)); n != 0 {
			t.Errorf("%s: size %d", name, n)
		}
	}
	if err := official.Unmarshal([]byte{0x0a, 0}, proto.Wire(nil)); err == nil {
		t.Error("decoding into nil succeeded")
	}
}

// A call pays for the adapter with two words.
func TestWireAllocatesTheAdapterAndTheBytesOnly(t *testing.T) {
	m := &task.StateResponse{Id: "c", Bundle: "/b", Pid: 7, ExitedAt: wkt.Now()}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := official.Marshal(proto.Wire(m)); err != nil {
			t.Fatal(err)
		}
	}); n > 2 {
		t.Errorf("%v allocations to encode", n)
	}
	b := encode(t, &task.ConnectResponse{ShimPid: 1, TaskPid: 2})
	into := new(task.ConnectResponse)
	if n := testing.AllocsPerRun(100, func() {
		if err := official.Unmarshal(b, proto.Wire(into)); err != nil {
			t.Fatal(err)
		}
	}); n > 1 {
		t.Errorf("%v allocations to decode", n)
	}
}

func BenchmarkWire(b *testing.B) {
	m := &task.CreateTaskRequest{Id: "c", Bundle: "/run/b", Rootfs: []*types.Mount{{Type: "overlay", Source: "overlay", Options: []string{"workdir=/w", "upperdir=/u", "lowerdir=/l"}}}}
	data, err := m.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := official.Marshal(proto.Wire(m)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := official.Unmarshal(data, proto.Wire(new(task.CreateTaskRequest))); err != nil {
				b.Fatal(err)
			}
		}
	})
}
