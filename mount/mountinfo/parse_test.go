package mountinfo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLinesOfEveryKind(t *testing.T) {
	for _, c := range []struct {
		name, line string
		want       Entry
	}{
		{"from the manual page", "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
			Entry{ID: 36, Parent: 35, Root: "/mnt1", Point: "/mnt2", Options: "rw,noatime", FSType: "ext3", Source: "/dev/root", Super: "rw,errors=continue"}},
		{"no optional field", "22 27 0:21 / /proc rw,relatime - proc proc rw",
			Entry{ID: 22, Parent: 27, Root: "/", Point: "/proc", Options: "rw,relatime", FSType: "proc", Source: "proc", Super: "rw"}},
		{"all optional fields", "22 27 0:21 / /a rw shared:12 master:3 propagate_from:2 unbindable - ext4 /dev/vda rw",
			Entry{ID: 22, Parent: 27, Root: "/", Point: "/a", Options: "rw", Shared: 12, FSType: "ext4", Source: "/dev/vda", Super: "rw"}},
		{"a kind of field that is not invented yet", "1 2 0:1 / /a rw shared:1 new:thing - t s rw",
			Entry{ID: 1, Parent: 2, Root: "/", Point: "/a", Options: "rw", Shared: 1, FSType: "t", Source: "s", Super: "rw"}},
		{"empty source", "54 27 0:45 / /mnt rw - tmpfs  rw",
			Entry{ID: 54, Parent: 27, Root: "/", Point: "/mnt", Options: "rw", FSType: "tmpfs", Super: "rw"}},
		{"a source that is a dash", "54 27 0:45 / /mnt rw - tmpfs - rw",
			Entry{ID: 54, Parent: 27, Root: "/", Point: "/mnt", Options: "rw", FSType: "tmpfs", Source: "-", Super: "rw"}},
		{"escapes", `54 27 0:45 /a\011b /mnt\040with\040space\134and\012more rw - fuse.x\040y so\043urce rw,name=a\054b`,
			Entry{ID: 54, Parent: 27, Root: "/a\tb", Point: "/mnt with space\\and\nmore", Options: "rw", FSType: "fuse.x y", Source: "so#urce", Super: `rw,name=a\054b`}},
		{"backslashes that escape nothing", `54 27 0:45 / /a\b\9\04 rw - t \ rw`,
			Entry{ID: 54, Parent: 27, Root: "/", Point: `/a\b\9\04`, Options: "rw", FSType: "t", Source: `\`, Super: "rw"}},
		{"removed mount point", "54 27 0:45 / /run/x//deleted rw - tmpfs tmpfs rw",
			Entry{ID: 54, Parent: 27, Root: "/", Point: "/run/x", Deleted: true, Options: "rw", FSType: "tmpfs", Source: "tmpfs", Super: "rw"}},
		{"removed root of a bind", "54 27 0:45 /x//deleted /run/x rw - tmpfs tmpfs rw",
			Entry{ID: 54, Parent: 27, Root: "/x//deleted", Point: "/run/x", Options: "rw", FSType: "tmpfs", Source: "tmpfs", Super: "rw"}},
		{"network namespace", "54 27 0:4 net:[4026532180] /run/netns/a rw shared:7 - nsfs nsfs rw",
			Entry{ID: 54, Parent: 27, Root: "net:[4026532180]", Point: "/run/netns/a", Options: "rw", Shared: 7, FSType: "nsfs", Source: "nsfs", Super: "rw"}},
		{"more after the end", "1 2 0:1 / /a rw - t s rw and more",
			Entry{ID: 1, Parent: 2, Root: "/", Point: "/a", Options: "rw", FSType: "t", Source: "s", Super: "rw"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(strings.NewReader(c.line+"\n"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || !reflect.DeepEqual(got[0], c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

func TestLinesThatAreNone(t *testing.T) {
	for _, line := range []string{
		"x",
		"36 35 98:0 /mnt1 /mnt2",
		"36 35 98:0 /mnt1 /mnt2 rw",
		"36 35 98:0 /mnt1 /mnt2 rw shared:1",
		"36 35 98:0 /mnt1 /mnt2 rw -",
		"36 35 98:0 /mnt1 /mnt2 rw - ext4 /dev/root",
		"x 35 98:0 /mnt1 /mnt2 rw - ext4 /dev/root rw",
		"36 x 98:0 /mnt1 /mnt2 rw - ext4 /dev/root rw",
		"36 35 98:0 /mnt1 /mnt2 rw shared:x - ext4 /dev/root rw",
	} {
		got, err := Parse(strings.NewReader("1 2 0:1 / /a rw - t s rw\n"+line+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%q: error %v does not name line 2", line, err)
		}
		if len(got) != 1 {
			t.Errorf("%q: %d entries before it, want 1", line, len(got))
		}
	}
}

func TestLinesOfAnyLengthAndReadsOfAnySize(t *testing.T) {
	var table bytes.Buffer
	lengths := []int{1, 100, 4000, 4096, 4097, 8192, 100_000, 1}
	for i, n := range lengths {
		fmt.Fprintf(&table, "%d 1 0:45 / /mnt/%d rw - overlay overlay rw,lowerdir=%s\n", i, i, strings.Repeat("x", n))
	}
	for name, r := range map[string]io.Reader{
		"whole":           bytes.NewReader(table.Bytes()),
		"byte by byte":    iotest.OneByteReader(bytes.NewReader(table.Bytes())),
		"data with EOF":   iotest.DataErrReader(bytes.NewReader(table.Bytes())),
		"without the end": bytes.NewReader(bytes.TrimSuffix(table.Bytes(), []byte("\n"))),
	} {
		got, err := Parse(r, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(got) != len(lengths) {
			t.Fatalf("%s: %d entries", name, len(got))
		}
		for i, e := range got {
			if e.ID != i || len(e.Super) != len("rw,lowerdir=")+lengths[i] {
				t.Errorf("%s: entry %d is %d with %d bytes of options", name, i, e.ID, len(e.Super))
			}
		}
	}
}

func TestReadErrorIsReturned(t *testing.T) {
	r := io.MultiReader(strings.NewReader("1 2 0:1 / /a rw - t s rw\n2 2 0:1 / /b"), iotest.ErrReader(io.ErrClosedPipe))
	got, err := Parse(r, nil)
	if !errors.Is(err, io.ErrClosedPipe) || len(got) != 1 {
		t.Errorf("got %d entries, %v", len(got), err)
	}
}

func TestKeepChooses(t *testing.T) {
	got, err := Parse(strings.NewReader("1 2 0:1 / /a rw - t s rw\n2 2 0:1 / /b rw - u s rw\n"),
		func(_, fstype []byte) bool { return string(fstype) == "u" })
	if err != nil || len(got) != 1 || got[0].ID != 2 {
		t.Errorf("by type: got %+v, %v", got, err)
	}
	got, err = Parse(strings.NewReader("1 2 0:1 / /a rw - t s rw\n2 2 0:1 / /b\\040c rw - u s rw\n"),
		func(point, _ []byte) bool { return string(point) == "/b c" })
	if err != nil || len(got) != 1 || got[0].ID != 2 {
		t.Errorf("by point: got %+v, %v", got, err)
	}
}

func TestTableOfThisProcess(t *testing.T) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, err := Parse(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Point == "/proc" && e.FSType == "proc" {
			return
		}
	}
	t.Errorf("no /proc among %d mounts", len(entries))
}

func FuzzMountInfo(f *testing.F) {
	f.Add([]byte("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"))
	f.Add([]byte(`54 27 0:45 /a\011b /mnt\040x//deleted rw shared:4 - fuse.x\040y  rw,name=a\054b`))
	f.Add([]byte("\n\n1 1 - - - - -"))
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := Parse(bytes.NewReader(b), nil)
		if err == nil && len(entries) > bytes.Count(b, []byte("\n"))+1 {
			t.Errorf("%d entries of %d bytes", len(entries), len(b))
		}
		slow, slowErr := Parse(iotest.OneByteReader(bytes.NewReader(b)), nil)
		if !reflect.DeepEqual(entries, slow) || (err == nil) != (slowErr == nil) {
			t.Errorf("read at once %+v, %v; byte by byte %+v, %v", entries, err, slow, slowErr)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	var table bytes.Buffer
	for i := range 1000 {
		fmt.Fprintf(&table, "%d 27 0:45 / /run/containerd/io.containerd.runtime.v2.task/k8s.io/%032d/rootfs rw,relatime shared:%d - overlay overlay rw,lowerdir=%s,upperdir=/u,workdir=/w\n",
			i, i, i, strings.Repeat("/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs:", 10))
	}
	b.SetBytes(int64(table.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(bytes.NewReader(table.Bytes()), func(_, fstype []byte) bool { return string(fstype) == "cgroup" }); err != nil {
			b.Fatal(err)
		}
	}
}
