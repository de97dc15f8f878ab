package mount

import (
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOptionsAreSortedByWhomTheyAreFor(t *testing.T) {
	for _, c := range []struct {
		options string
		want    options
	}{
		{"", options{}},
		{"defaults", options{}},
		{"rbind ro", options{flags: unix.MS_BIND | unix.MS_REC | unix.MS_RDONLY}},
		{"bind ro rw", options{flags: unix.MS_BIND}},
		{"nosuid nodev noexec suid", options{flags: unix.MS_NODEV | unix.MS_NOEXEC}},
		{"noatime atime relatime", options{flags: unix.MS_RELATIME}},
		{"remount sync dirsync lazytime", options{flags: unix.MS_REMOUNT | unix.MS_SYNCHRONOUS | unix.MS_DIRSYNC | unix.MS_LAZYTIME}},
		{"rslave private", options{propagation: []uintptr{unix.MS_SLAVE | unix.MS_REC, unix.MS_PRIVATE}}},
		{"loop direct-io ro", options{flags: unix.MS_RDONLY, loop: true, directIO: true, data: []string{}}},
		{"direct-io", options{data: []string{"direct-io"}}},
		{"volatile userxattr lowerdir=/a:/b", options{data: []string{"volatile", "userxattr", "lowerdir=/a:/b"}}},
		{"uidmap=0:1:2 gidmap=0:1:2", options{uidmap: "0:1:2", gidmap: "0:1:2"}},
		{"X-mount.mkdir x-systemd.automount mode=1", options{data: []string{"mode=1"}}},
		{"xino=on", options{data: []string{"xino=on"}}},
	} {
		got, err := parseOptions(strings.Fields(c.options))
		if err != nil {
			t.Errorf("%q: %v", c.options, err)
		}
		if len(got.data) == 0 && len(c.want.data) == 0 {
			got.data, c.want.data = nil, nil
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, want %+v", c.options, got, c.want)
		}
	}
}

// The flags are many and each is written twice; none may undo another's work.
func TestEachFlagSetsOrClearsItsOwn(t *testing.T) {
	pairs := [][2]string{
		{"ro", "rw"}, {"nosuid", "suid"}, {"nodev", "dev"}, {"noexec", "exec"}, {"nosymfollow", "symfollow"},
		{"sync", "async"}, {"mand", "nomand"}, {"noatime", "atime"}, {"nodiratime", "diratime"},
		{"relatime", "norelatime"}, {"strictatime", "nostrictatime"}, {"lazytime", "nolazytime"},
	}
	var all uintptr
	for _, p := range pairs {
		set, none, ok := flag(p[0])
		none2, clear, ok2 := flag(p[1])
		if !ok || !ok2 || set == 0 || set != clear || none != 0 || none2 != 0 || all&set != 0 {
			t.Errorf("%s sets %#x, %s clears %#x", p[0], set, p[1], clear)
		}
		all |= set
	}
}

func TestMountAttributesFollowTheFlags(t *testing.T) {
	for _, c := range []struct {
		flags uintptr
		attr  int
	}{
		{0, 0},
		{unix.MS_RELATIME, 0},
		{perMount &^ (unix.MS_NOATIME | unix.MS_STRICTATIME), unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV |
			unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NOSYMFOLLOW | unix.MOUNT_ATTR_NODIRATIME},
		{unix.MS_NOATIME, unix.MOUNT_ATTR_NOATIME},
		{unix.MS_NOATIME | unix.MS_STRICTATIME, unix.MOUNT_ATTR_STRICTATIME},
		{unix.MS_BIND | unix.MS_REC | unix.MS_SYNCHRONOUS, 0},
	} {
		if got := attributes(c.flags); got != c.attr {
			t.Errorf("%#x: got %#x, want %#x", c.flags, got, c.attr)
		}
	}
}

func TestDataIsPartedAtCommasThatPart(t *testing.T) {
	for _, c := range []struct {
		data string
		want []param
	}{
		{"size=1k,mode=700", []param{{key: "size", value: "1k"}, {key: "mode", value: "700"}}},
		{"noquota,", []param{{key: "noquota", isFlag: true}}},
		{",,a=,", []param{{key: "a"}}},
		{`rootcontext="u:r:t:s0:c1,c2",b`, []param{{key: "rootcontext", value: "u:r:t:s0:c1,c2"}, {key: "b", isFlag: true}}},
		{`path=/a\,b`, []param{{key: "path", value: `/a\,b`}}},
		{`q="`, []param{{key: "q", value: `"`}}},
	} {
		o := options{data: []string{c.data}}
		if got := o.params(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %+v, want %+v", c.data, got, c.want)
		}
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("rbind\nro\nrprivate\nuidmap=0:1:2\ngidmap=0:1:2\nloop\ndirect-io")
	f.Add("X-containerd.x\nx-y\n\nlowerdir=a,b=\"c,d\",\\")
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, "\n")
		o, err := parseOptions(list)
		if err != nil {
			return
		}
		for _, d := range o.data {
			if strings.HasPrefix(d, "X-") || strings.HasPrefix(d, "x-") || d == "" {
				t.Errorf("%q went to the filesystem", d)
			}
		}
		for _, p := range o.params() {
			if p.isFlag && p.value != "" {
				t.Errorf("%+v is a flag with a value", p)
			}
		}
		m := Mount{Options: list}
		if m.remounts() != o.has(unix.MS_REMOUNT) {
			t.Errorf("%q: remounts is %v", list, m.remounts())
		}
	})
}
