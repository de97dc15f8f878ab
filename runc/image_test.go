package runc

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAnImageKeepsTheOptionsThatARestoreNeeds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "parents", "that", "are", "not", "there", "image")
	o := CheckpointOpts{
		ImagePath: dir, WorkPath: "/work", ParentPath: "../parent", LeaveRunning: true, OpenTCP: true, ExternalUnixSockets: true,
		Terminal: true, FileLocks: true, EmptyNamespaces: []string{"network"}, CgroupsMode: "soft",
	}
	if _, err := MakeImage(&o); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenImage(dir); !errors.Is(err, ErrImage) {
		t.Errorf("an image that criu has not written: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, inventory), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := OpenImage(dir)
	o.WorkPath, o.ParentPath, o.LeaveRunning = "", "", false
	if err != nil || !reflect.DeepEqual(got, o) {
		t.Errorf("%+v, %v; want %+v", got, err, o)
	}
	if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("others may look into a container's memory: %v, %v", st.Mode(), err)
	}
	// As a shim leaves it that keeps no options.
	if err := os.Remove(filepath.Join(dir, madeWith)); err != nil {
		t.Fatal(err)
	}
	if got, err = OpenImage(dir); err != nil || !reflect.DeepEqual(got, CheckpointOpts{ImagePath: dir}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatIsNoImageIsNamed(t *testing.T) {
	image := func(name string, fill func(path string) error) string {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		err := os.WriteFile(filepath.Join(dir, inventory), nil, 0o600)
		if err == nil {
			err = fill(filepath.Join(dir, madeWith))
		}
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	text := func(s string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(s), 0o600) }
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := text("")(file); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{
		filepath.Join(t.TempDir(), "none"),
		t.TempDir(),
		file,
		image("garbage", text("{")),
		image("another-kind", text(`{"open_tcp":"yes"}`)),
		image("too-long", text(strings.Repeat(" ", maxMadeWith)+"{}")),
		image("fifo", func(path string) error { return unix.Mkfifo(path, 0o600) }),
		image("directory", func(path string) error { return os.Mkdir(path, 0o700) }),
	} {
		if o, err := OpenImage(dir); !errors.Is(err, ErrImage) || !strings.Contains(err.Error(), dir) || !reflect.DeepEqual(o, CheckpointOpts{}) {
			t.Errorf("%s: %+v, %v", dir, o, err)
		}
	}
}

func TestWhatIsLeftOfAnImageThatWasNotWrittenIsRemoved(t *testing.T) {
	fresh := CheckpointOpts{ImagePath: filepath.Join(t.TempDir(), "image")}
	undo, err := MakeImage(&fresh)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(fresh.ImagePath, "core-1.img"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil || exists(fresh.ImagePath) {
		t.Errorf("%v, it is there: %v", err, exists(fresh.ImagePath))
	}

	// What was there before is its owner's.
	there := CheckpointOpts{ImagePath: t.TempDir()}
	if undo, err = MakeImage(&there); err != nil {
		t.Fatal(err)
	}
	if err := undo(); err != nil || !exists(there.ImagePath) {
		t.Errorf("%v, it is there: %v", err, exists(there.ImagePath))
	}

	in := CheckpointOpts{ImagePath: filepath.Join(t.TempDir(), "file", "image")}
	if err := os.WriteFile(filepath.Dir(in.ImagePath), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := MakeImage(&in); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file in the way: %v", err)
	}
}
