package proto_test

import (
	"errors"
	"io"
	"testing"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/events"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

func TestPackNamesTheTypeAsContainerdDoes(t *testing.T) {
	want := &runcopts.Options{BinaryName: "crun", SystemdCgroup: true}
	a, err := proto.Pack(want)
	if err != nil {
		t.Fatal(err)
	}
	if a.TypeUrl != "containerd.runc.v1.Options" {
		t.Errorf("type %q", a.TypeUrl)
	}
	got := &runcopts.Options{Root: "from before"}
	if err := proto.Unpack(a, got); err != nil {
		t.Fatal(err)
	}
	if *got != *want {
		t.Errorf("%+v, want %+v", *got, *want)
	}
	// Protobuf's own libraries write a host before the name.
	a.TypeUrl = "type.googleapis.com/containerd.runc.v1.Options"
	if err := proto.Unpack(a, got); err != nil {
		t.Error(err)
	}
}

func TestUnpackRefusesAnotherType(t *testing.T) {
	a, err := proto.Pack(&events.TaskOOM{ContainerId: "c"})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*wkt.Any{a, {}, nil, {TypeUrl: "xcontainerd.runc.v1.Options"}} {
		got := &runcopts.Options{Root: "kept"}
		var wrong *proto.TypeError
		if err := proto.Unpack(a, got); !errors.As(err, &wrong) || wrong.Want != "containerd.runc.v1.Options" {
			t.Errorf("%v: %v", a, err)
		}
		if got.Root != "kept" {
			t.Errorf("%v: the message was touched", a)
		}
	}
	a = &wkt.Any{TypeUrl: "containerd.runc.v1.Options", Value: []byte{0x1a, 9}}
	if err := proto.Unpack(a, new(runcopts.Options)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("half a message: %v", err)
	}
}
