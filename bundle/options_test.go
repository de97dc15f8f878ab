package bundle

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holdfast-shim/holdfast/proto/runcopts"
)

var everyOption = runcopts.Options{
	NoPivotRoot: true, NoNewKeyring: true, ShimCgroup: "/shims", IoUid: 1, IoGid: 2,
	BinaryName: "/usr/bin/crun", Root: "/run/other", SystemdCgroup: true,
	CriuImagePath: "/ci", CriuWorkPath: "/cw", TaskApiAddress: "ttrpc+unix:///x", TaskApiVersion: 3,
}

// What containerd 2.3's shim writes for everyOption (the JSON of its generated
// type, whose tags are the names in its .proto file).
const everyOptionJSON = `{"no_pivot_root":true,"no_new_keyring":true,"shim_cgroup":"/shims","io_uid":1,"io_gid":2,` +
	`"binary_name":"/usr/bin/crun","root":"/run/other","systemd_cgroup":true,"criu_image_path":"/ci",` +
	`"criu_work_path":"/cw","task_api_address":"ttrpc+unix:///x","task_api_version":3}`

func TestOptionsAreWrittenAsContainerdsShimDoes(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadOptions(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("before the container: %v", err)
	}
	if err := WriteOptions(dir, &everyOption); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "options.json"))
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != everyOptionJSON {
		t.Errorf("wrote\n%s\ncontainerd writes\n%s", b, everyOptionJSON)
	}
	got, err := ReadOptions(dir)
	if err != nil || !reflect.DeepEqual(*got, everyOption) {
		t.Errorf("read %+v, %v", got, err)
	}
	if err := WriteOptions(dir, &runcopts.Options{}); err != nil {
		t.Fatal(err)
	}
	if b, _ = os.ReadFile(filepath.Join(dir, "options.json")); string(b) != "{}" {
		t.Errorf("no options: wrote %s", b)
	}
}

func TestOptionsOfContainerd16AreRead(t *testing.T) {
	o, err := ParseOptions([]byte(`{"binary_name":"crun","criu_path":"/usr/sbin/criu","root":"/r"}`))
	if err != nil || o.BinaryName != "crun" || o.Root != "/r" {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestRuntimeFileIsOptional(t *testing.T) {
	dir := t.TempDir()
	if name, err := ReadRuntime(dir); name != "" || err != nil {
		t.Errorf("absent: %q, %v", name, err)
	}
	if err := WriteRuntime(dir, "/usr/bin/crun"); err != nil {
		t.Fatal(err)
	}
	if name, err := ReadRuntime(dir); name != "/usr/bin/crun" || err != nil {
		t.Errorf("%q, %v", name, err)
	}
	if err := WriteRuntime(dir, "cr\x00un"); err != nil {
		t.Fatal(err)
	}
	if name, err := ReadRuntime(dir); name != "" || !errors.Is(err, ErrCorrupt) {
		t.Errorf("%q, %v", name, err)
	}
}

func FuzzOptionsJSON(f *testing.F) {
	f.Add([]byte(everyOptionJSON))
	f.Add([]byte(`{"root":7}`))
	f.Add([]byte(`{"io_uid":4294967296}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseOptions(b)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseOptions(again)
		if err != nil || !reflect.DeepEqual(o, back) {
			t.Fatalf("%+v came back as %+v, %v", o, back, err)
		}
	})
}
