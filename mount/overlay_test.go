package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// layers makes n directories in dir, each with a file of its own and one that they
// all have, and returns their paths, uppermost first. Their names are as long as
// asked for.
func layers(t testing.TB, dir string, n, length int) []string {
	t.Helper()
	paths := make([]string, n)
	for i := range paths {
		name := fmt.Sprintf("%d", i)
		if len(name) < length {
			name += strings.Repeat("x", length-len(name))
		}
		paths[i] = mkdir(t, filepath.Join(dir, name, "fs"))
		write(t, fmt.Sprintf("%s/f%d", paths[i], i), name)
		write(t, paths[i]+"/all", fmt.Sprint(i))
	}
	return paths
}

// snapshots makes a directory in dir for many layers, in memory: a disk takes
// seconds for them.
func snapshots(t testing.TB, dir string) string {
	t.Helper()
	path := mkdir(t, dir+"/snapshots")
	sysMount(t, "tmpfs", path, "tmpfs", 0, "")
	return path
}

// writable gives the options of an overlay with these layers and an upper one.
func writable(t testing.TB, dir string, lower []string) []string {
	t.Helper()
	return []string{
		"index=off",
		"workdir=" + escape(mkdir(t, dir+"/work")),
		"upperdir=" + escape(mkdir(t, dir+"/upper")),
		"lowerdir=" + strings.Join(lower, ":"),
	}
}

// hasLayers checks that an overlay of n layers is what is seen, and writable.
func hasLayers(t testing.TB, root string, n int) {
	t.Helper()
	if e := wantMounts(t, root, 1)[0]; e.FSType != "overlay" || e.Source != "overlay" {
		t.Errorf("mounted is %+v", e)
	}
	for i := range n {
		if _, err := os.Stat(fmt.Sprintf("%s/f%d", root, i)); err != nil {
			t.Fatalf("layer %d: %v", i, err)
		}
	}
	if got := read(t, root+"/all"); got != "0" {
		t.Errorf("on top is layer %s", got)
	}
	write(t, root+"/new", "x")
	hasOptions(t, root, "nodev")
}

func tooLong(t testing.TB, options []string) {
	t.Helper()
	if n := len(strings.Join(options, ",")); n < os.Getpagesize() {
		t.Fatalf("options are %d bytes, the test wants more than a page", n)
	}
}

func TestOverlayOfMoreLayersThanAPageHolds(t *testing.T) {
	for _, n := range []int{70, 200, 480} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			root := bundle(t)
			options := append(writable(t, filepath.Dir(root), layers(t, snapshots(t, filepath.Dir(root)), n, 8)), "nodev")
			tooLong(t, options)
			mountAll(t, root, Mount{Type: "overlay", Source: "overlay", Options: options})
			hasLayers(t, root, n)
		})
	}
}

func TestOverlayWithPathsLongerThanOneOptionMayBe(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	long := dir + "/" + strings.Repeat("y", 200) + "/" + strings.Repeat("z", 200)
	options := append(writable(t, long, layers(t, long, 12, 100)), "nodev")
	tooLong(t, options)
	mountAll(t, root, Mount{Type: "overlay", Source: "overlay", Options: options})
	hasLayers(t, root, 12)
}

func TestOverlayWithOddNames(t *testing.T) {
	for _, way := range []string{"one page", "layer by layer", "short names"} {
		t.Run(way, func(t *testing.T) {
			root := bundle(t)
			dir := filepath.Dir(root) + `/a,b:c\d e`
			lower := layers(t, dir, 3, 4)
			for i := range lower {
				lower[i] = escape(lower[i])
			}
			m := Mount{Type: "overlay", Source: "overlay", Options: append(writable(t, dir, lower), "nodev")}
			o, err := parseOptions(m.Options)
			if err != nil {
				t.Fatal(err)
			}
			switch r := at(t, root); way {
			case "one page":
				_, err = m.createOverlay(r, &o)
			case "layer by layer":
				_, err = m.createByLayers(r, &o, parseOverlay(o.data))
			case "short names":
				_, err = m.createByShortNames(r, &o, parseOverlay(o.data))
			}
			if err != nil {
				t.Fatal(err)
			}
			hasLayers(t, root, 3)
		})
	}
}

func at(t testing.TB, root string) *rootDir {
	t.Helper()
	r, err := openRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

// Kernels before 6.7 need these; that they can be tested on this one is why they
// are methods of their own.
func TestOverlayByShortNames(t *testing.T) {
	for _, c := range []struct {
		name      string
		layers    func(t *testing.T, dir string) []string
		cwd, says string
	}{
		{"relative to the directory they share", func(t *testing.T, dir string) []string {
			return layers(t, snapshots(t, dir), 100, 8)
		}, "/snapshots", "lowerdir=0xxxxxxx/fs:1xxxxxxx/fs"},
		{"by descriptors for there are too many", func(t *testing.T, dir string) []string {
			return layers(t, snapshots(t, dir), 480, 8)
		}, "", "lowerdir="},
		{"by descriptors for they share none", func(t *testing.T, dir string) []string {
			elsewhere := mkdir(t, "/"+filepath.Base(filepath.Dir(dir))+"-elsewhere")
			t.Cleanup(func() { os.RemoveAll(elsewhere) })
			list := layers(t, snapshots(t, dir), 60, 70)
			other := mkdir(t, elsewhere+"/fs")
			write(t, other+"/f60", "")
			return append(list, other)
		}, "", "lowerdir="},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := bundle(t)
			dir := filepath.Dir(root)
			lower := c.layers(t, dir)
			m := Mount{Type: "overlay", Source: "overlay", Options: append(writable(t, dir, lower), "nodev")}
			tooLong(t, m.Options)
			o, err := parseOptions(m.Options)
			if err != nil {
				t.Fatal(err)
			}
			ov := parseOverlay(o.data)
			cwd, short, ok := ov.relative()
			if fitting := ok && fits(short.options()) == nil; fitting != (c.cwd != "") || fitting && cwd != dir+c.cwd {
				t.Errorf("relative to %q, %v", cwd, ok)
			}
			here, err := os.Getwd()
			if err != nil {
				t.Fatal(err)
			}
			before := openFiles(t)
			if _, err := m.createByShortNames(at(t, root), &o, ov); err != nil {
				t.Fatal(err)
			}
			hasLayers(t, root, len(lower))
			if super := mounted(t, root)[0].Super; !strings.Contains(super, c.says) {
				t.Errorf("options are %.200q, want %q in them", super, c.says)
			}
			if after := openFiles(t); after != before+1 { // at's
				t.Errorf("%d open files before, %d after", before, after)
			}
			if now, err := os.Getwd(); now != here || err != nil {
				t.Errorf("working directory is %q, %v, was %q", now, err, here)
			}
			if link, err := os.Readlink("/proc/self/cwd"); link != here || err != nil {
				t.Errorf("/proc/self/cwd is %q, %v, want %q", link, err, here)
			}
		})
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestMissingLayerIsNamed(t *testing.T) {
	for _, way := range []string{"layer by layer", "relative", "numbered"} {
		t.Run(way, func(t *testing.T) {
			root := bundle(t)
			dir := filepath.Dir(root)
			lower := layers(t, snapshots(t, dir), 90, 20)
			missing := dir + "/snapshots/missing"
			lower[40] = missing
			m := Mount{Type: "overlay", Source: "overlay", Options: writable(t, dir, lower)}
			tooLong(t, m.Options)
			o, err := parseOptions(m.Options)
			if err != nil {
				t.Fatal(err)
			}
			switch r, ov := at(t, root), parseOverlay(o.data); way {
			case "layer by layer":
				_, err = m.createByLayers(r, &o, ov)
			case "relative":
				_, err = m.createByShortNames(r, &o, ov)
			case "numbered":
				var fds fdNames
				defer fds.close()
				_, err = ov.numbered(&fds)
			}
			if !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), missing) {
				t.Errorf("error %v does not name %s", err, missing)
			}
			wantMounts(t, root, 0)
		})
	}
}

func TestThreadsOfShortNamesEnd(t *testing.T) {
	root := bundle(t)
	dir := filepath.Dir(root)
	m := Mount{Type: "overlay", Source: "overlay", Options: writable(t, dir, layers(t, dir+"/snapshots", 3, 4))}
	o, err := parseOptions(m.Options)
	if err != nil {
		t.Fatal(err)
	}
	r := at(t, root)
	const times = 50
	for range times {
		if _, err := m.createByShortNames(r, &o, parseOverlay(o.data)); err != nil {
			t.Fatal(err)
		}
		if err := UnmountAll(root); err != nil {
			t.Fatal(err)
		}
	}
	threads := 0
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		entries, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		if threads = len(entries); threads < times/2 {
			return
		}
	}
	t.Errorf("%d threads after %d mounts", threads, times)
}

func TestOverlayOptionsAreParted(t *testing.T) {
	for _, c := range []struct {
		name string
		data []string
		want overlay
		back string
	}{
		{"usual", []string{"index=off", "workdir=/w", "upperdir=/u", "lowerdir=/a:/b"},
			overlay{lower: []layer{{raw: "/a"}, {raw: "/b"}}, upper: "/u", work: "/w", rest: []string{"index=off"}},
			"index=off,upperdir=/u,workdir=/w,lowerdir=/a:/b"},
		{"joined by commas", []string{"lowerdir=/a,upperdir=/u,volatile"},
			overlay{lower: []layer{{raw: "/a"}}, upper: "/u", rest: []string{"volatile"}},
			"volatile,upperdir=/u,lowerdir=/a"},
		{"escapes", []string{`lowerdir=/a\:b:/c\,d:/e\\:/f`},
			overlay{lower: []layer{{raw: `/a\:b`}, {raw: `/c\,d`}, {raw: `/e\\`}, {raw: "/f"}}},
			`lowerdir=/a\:b:/c\,d:/e\\:/f`},
		{"layers of data only", []string{"lowerdir=/a:/b::/c::/d"},
			overlay{lower: []layer{{raw: "/a"}, {raw: "/b"}, {raw: "/c", data: true}, {raw: "/d", data: true}}},
			"lowerdir=/a:/b::/c::/d"},
		{"one by one already", []string{"lowerdir+=/a:b", "lowerdir+=/c", "datadir+=/d"},
			overlay{lower: []layer{{raw: `/a\:b`}, {raw: "/c"}, {raw: "/d", data: true}}},
			`lowerdir=/a\:b:/c::/d`},
		{"quoted context", []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`, "lowerdir=/a"},
			overlay{lower: []layer{{raw: "/a"}}, rest: []string{`context="system_u:object_r:container_file_t:s0:c1,c2"`}},
			`context="system_u:object_r:container_file_t:s0:c1,c2",lowerdir=/a`},
		{"given twice", []string{"lowerdir=/a", "lowerdir=/b"}, overlay{lower: []layer{{raw: "/b"}}}, "lowerdir=/b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := parseOverlay(c.data)
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if back := got.options(); back != c.back {
				t.Errorf("written back as %q, want %q", back, c.back)
			}
		})
	}
}

func TestOverlayParametersAreUnescapedAsFsconfigWantsThem(t *testing.T) {
	ov := parseOverlay([]string{`context="a,b"`, "volatile", `lowerdir=/a\:b::/c`, `upperdir=/u\,v`})
	got := ov.params()
	want := []param{
		{key: "context", value: "a,b"},
		{key: "volatile", isFlag: true},
		{key: "lowerdir+", value: "/a:b"},
		{key: "datadir+", value: "/c"},
		{key: "upperdir", value: `/u\,v`},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestLayersRelativeToWhatTheyShare(t *testing.T) {
	for _, c := range []struct {
		lower, cwd, short string
	}{
		{"/s/1/fs:/s/2/fs", "/s", "1/fs:2/fs"},
		{"/s/10/fs:/s/1/fs", "/s", "10/fs:1/fs"},
		{"/s/1:/s/1/fs", "/s", "1:1/fs"},
		{"/s/1/fs:/s/1", "/s", "1/fs:1"},
		{"/s//1/./fs:/s/2/../3", "/s", "1/fs:3"},
		{"/s/a/1::/s/b/2", "/s", "a/1::b/2"},
		{`/s\:t/1:/s\:t/2\,3`, "/s:t", `1:2\,3`},
		{"/a:/b", "", ""},
		{"/s/1:/t/1", "", ""},
		{"s/1:t/1", "", ""},
		{"/s/1", "", ""},
	} {
		ov := parseOverlay([]string{"lowerdir=" + c.lower})
		cwd, short, ok := ov.relative()
		if ok != (c.cwd != "") || cwd != c.cwd || ok && short.options() != "lowerdir="+c.short {
			t.Errorf("%s: relative to %q as %q, %v", c.lower, cwd, short.options(), ok)
		}
	}
}

func FuzzOverlayOptions(f *testing.F) {
	f.Add("index=off,workdir=/w,upperdir=/u,lowerdir=/a:/b::/c")
	f.Add(`lowerdir=/a\:b:/c\,d\\:\`)
	f.Add(`context="a,b",lowerdir+=/a:b,datadir+=/c,=,==`)
	f.Fuzz(func(t *testing.T, data string) {
		ov := parseOverlay([]string{data})
		// What is written is read as the same again, if it can be a path at all.
		again := parseOverlay([]string{ov.options()})
		empty := slices.ContainsFunc(ov.lower, func(l layer) bool { return l.raw == "" })
		if len(again.lower) != len(ov.lower) && !empty && !strings.HasSuffix(data, `\`) && !strings.Contains(data, `"`) {
			t.Errorf("%q: %d layers, then %d of %q", data, len(ov.lower), len(again.lower), ov.options())
		}
		for _, l := range ov.lower {
			if unescape(escape(l.path())) != l.path() {
				t.Errorf("%q does not survive escaping", l.path())
			}
		}
		ov.params()
		if cwd, short, ok := ov.relative(); ok {
			for i, l := range short.lower {
				if want := filepath.Clean(ov.lower[i].path()); filepath.Join(cwd, l.path()) != want {
					t.Errorf("%q: layer %d is %q in %q, want %q", data, i, l.path(), cwd, want)
				}
			}
		}
	})
}
