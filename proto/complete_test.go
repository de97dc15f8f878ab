package proto_test

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	cgroups1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroups2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	events "github.com/containerd/containerd/api/events"
	bootstrap "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	taskv2 "github.com/containerd/containerd/api/runtime/task/v2"
	taskv3 "github.com/containerd/containerd/api/runtime/task/v3"
	forward "github.com/containerd/containerd/api/services/ttrpc/events/v1"
	types "github.com/containerd/containerd/api/types"
	runcopts "github.com/containerd/containerd/api/types/runc/options"
	runtimeopts "github.com/containerd/containerd/api/types/runtimeoptions/v1"
	tasktypes "github.com/containerd/containerd/api/types/task"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// notOurs are messages in files of which we have others, and why they are not.
var notOurs = map[protoreflect.FullName]string{
	"containerd.types.ActiveMount":       "the daemon's mount manager and its clients alone have it",
	"containerd.types.ActivationInfo":    "the daemon's mount manager and its clients alone have it",
	"containerd.types.MountCapabilities": "a shim may send it in BootstrapResult.extensions; ours takes no mount's set-up off the daemon",
}

// ahead are fields of ours that the official modules named in go.mod do not have
// yet, though their projects do.
var ahead = map[protoreflect.FullName]bool{
	"io.containerd.cgroups.v2.MemoryStat.workingset_refault_anon":  true,
	"io.containerd.cgroups.v2.MemoryStat.workingset_refault_file":  true,
	"io.containerd.cgroups.v2.MemoryStat.workingset_activate_anon": true,
	"io.containerd.cgroups.v2.MemoryStat.workingset_activate_file": true,
}

func officialFiles() []protoreflect.FileDescriptor {
	return []protoreflect.FileDescriptor{
		taskv2.File_runtime_task_v2_shim_proto,
		taskv3.File_runtime_task_v3_shim_proto,
		events.File_events_task_proto,
		forward.File_services_ttrpc_events_v1_events_proto,
		types.File_types_mount_proto,
		types.File_types_event_proto,
		types.File_types_introspection_proto,
		tasktypes.File_types_task_task_proto,
		runcopts.File_types_runc_options_oci_proto,
		(&runtimeopts.Options{}).ProtoReflect().Descriptor().ParentFile(),
		bootstrap.File_runtime_bootstrap_v1_bootstrap_proto,
		(&cgroups1.Metrics{}).ProtoReflect().Descriptor().ParentFile(),
		(&cgroups2.Metrics{}).ProtoReflect().Descriptor().ParentFile(),
		anypb.File_google_protobuf_any_proto,
		timestamppb.File_google_protobuf_timestamp_proto,
		emptypb.File_google_protobuf_empty_proto,
	}
}

// ourDescriptors compiles the .proto files of this folder.
func ourDescriptors(t *testing.T) linker.Files {
	t.Helper()
	var names []string
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".proto") {
			names = append(names, path)
		}
		return err
	})
	if err != nil || len(names) == 0 {
		t.Fatalf("find .proto files: %d, %v", len(names), err)
	}
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{}}
	files, err := c.Compile(context.Background(), names...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func find[D protoreflect.Descriptor](files linker.Files, name protoreflect.FullName) (D, bool) {
	for _, f := range files {
		if d, ok := f.FindDescriptorByName(name).(D); ok {
			return d, true
		}
	}
	var none D
	return none, false
}

func findMessage(t *testing.T, files linker.Files, name string) protoreflect.MessageDescriptor {
	t.Helper()
	d, ok := find[protoreflect.MessageDescriptor](files, protoreflect.FullName(name))
	if !ok {
		t.Fatalf("our files have no message %s", name)
	}
	return d
}

// oursFor is the name that we have for an official one: version 2 of the Task API
// uses version 3's messages.
func oursFor(name protoreflect.FullName) protoreflect.FullName {
	if rest, ok := strings.CutPrefix(string(name), "containerd.task.v2."); ok && rest != "Task" {
		return protoreflect.FullName("containerd.task.v3." + rest)
	}
	return name
}

func TestEveryOfficialMessageIsOursToTheLastField(t *testing.T) {
	ours := ourDescriptors(t)
	for _, file := range officialFiles() {
		for i := range file.Messages().Len() {
			want := file.Messages().Get(i)
			if notOurs[want.FullName()] != "" {
				continue
			}
			got, ok := find[protoreflect.MessageDescriptor](ours, oursFor(want.FullName()))
			if !ok {
				t.Errorf("message %s is missing", want.FullName())
				continue
			}
			compareFields(t, got, want)
		}
		for i := range file.Enums().Len() {
			want := file.Enums().Get(i)
			got, ok := find[protoreflect.EnumDescriptor](ours, want.FullName())
			if !ok {
				t.Errorf("enum %s is missing", want.FullName())
				continue
			}
			compareValues(t, got, want)
		}
		for i := range file.Services().Len() {
			want := file.Services().Get(i)
			got, ok := find[protoreflect.ServiceDescriptor](ours, want.FullName())
			if !ok {
				t.Errorf("service %s is missing", want.FullName())
				continue
			}
			compareMethods(t, got, want)
		}
	}
}

func compareFields(t *testing.T, got, want protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range want.Fields().Len() {
		w := want.Fields().Get(i)
		g := got.Fields().ByNumber(w.Number())
		if g == nil {
			t.Errorf("field %s = %d is missing", w.FullName(), w.Number())
			continue
		}
		if shapeOf(g) != shapeOf(w) {
			t.Errorf("field %s is\n%+v, want\n%+v", w.FullName(), shapeOf(g), shapeOf(w))
		}
	}
	for i := range got.Fields().Len() {
		g := got.Fields().Get(i)
		w := want.Fields().ByNumber(g.Number())
		if w == nil && !ahead[g.FullName()] {
			t.Errorf("field %s = %d is nobody's but ours", g.FullName(), g.Number())
		}
		if w != nil && ahead[g.FullName()] {
			t.Errorf("field %s is official by now: take it off the list", g.FullName())
		}
	}
	for i := range want.ReservedRanges().Len() {
		if r := want.ReservedRanges().Get(i); !got.ReservedRanges().Has(r[0]) {
			t.Errorf("number %d of %s is not reserved", r[0], got.FullName())
		}
	}
}

// shape is all of a field that the wire, or a user of the names, can see.
type shape struct {
	name        protoreflect.Name
	json        string
	kind        protoreflect.Kind
	cardinality protoreflect.Cardinality
	isMap       bool
	packed      bool
	presence    bool
	of          protoreflect.FullName
	key, value  protoreflect.Kind
}

func shapeOf(f protoreflect.FieldDescriptor) shape {
	s := shape{
		name: f.Name(), json: f.JSONName(), kind: f.Kind(), cardinality: f.Cardinality(),
		isMap: f.IsMap(), packed: f.IsPacked(), presence: f.HasPresence(),
	}
	switch {
	case f.IsMap():
		s.key, s.value = f.MapKey().Kind(), f.MapValue().Kind()
	case f.Message() != nil:
		s.of = oursFor(f.Message().FullName())
	case f.Enum() != nil:
		s.of = f.Enum().FullName()
	}
	return s
}

func compareValues(t *testing.T, got, want protoreflect.EnumDescriptor) {
	t.Helper()
	if g, w := got.Values().Len(), want.Values().Len(); g != w {
		t.Errorf("enum %s has %d values, want %d", want.FullName(), g, w)
	}
	for i := range want.Values().Len() {
		w := want.Values().Get(i)
		if g := got.Values().ByName(w.Name()); g == nil || g.Number() != w.Number() {
			t.Errorf("enum value %s = %d is missing", w.FullName(), w.Number())
		}
	}
}

func compareMethods(t *testing.T, got, want protoreflect.ServiceDescriptor) {
	t.Helper()
	if g, w := got.Methods().Len(), want.Methods().Len(); g != w {
		t.Errorf("service %s has %d methods, want %d", want.FullName(), g, w)
	}
	for i := range want.Methods().Len() {
		w := want.Methods().Get(i)
		g := got.Methods().ByName(w.Name())
		if g == nil {
			t.Errorf("method %s is missing", w.FullName())
			continue
		}
		if g.Input().FullName() != oursFor(w.Input().FullName()) || g.Output().FullName() != oursFor(w.Output().FullName()) {
			t.Errorf("method %s takes %s and answers %s", w.FullName(), g.Input().FullName(), g.Output().FullName())
		}
	}
}

// What is compared with the official modules, and fuzzed, is all that we have.
func TestEveryMessageOfOursHasAnOfficialPair(t *testing.T) {
	paired := map[string]bool{}
	for _, p := range allPairs() {
		ours, theirs := p.ours().TypeURL(), p.official().ProtoReflect().Descriptor().FullName()
		if string(oursFor(theirs)) != ours {
			t.Errorf("%s is paired with %s", ours, theirs)
		}
		if paired[string(theirs)] {
			t.Errorf("%s is in the table twice", theirs)
		}
		paired[string(theirs)] = true
	}
	for _, f := range ourDescriptors(t) {
		for i := range f.Messages().Len() {
			name := string(f.Messages().Get(i).FullName())
			if !paired[name] {
				t.Errorf("%s has no pair", name)
			}
			if v2, ok := strings.CutPrefix(name, "containerd.task.v3."); ok && !paired["containerd.task.v2."+v2] {
				t.Errorf("%s has no pair in version 2", name)
			}
		}
	}
}
