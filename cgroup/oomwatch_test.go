package cgroup

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// eat needs more memory than any limit. It is one process: with another that needs
// some, the kernel may have to kill twice.
const eat = "exec busybox tail /dev/zero"

const small = 16 << 20

// memoryGroup is the group at path as far as memory goes.
func memoryGroup(t testing.TB, path string) *Group {
	t.Helper()
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, controllers := range []string{"memory", ""} {
		for i := range hs {
			if !hs[i].is(controllers) {
				continue
			}
			dir, _ := hs[i].dir(path)
			for _, file := range []string{"memory.oom_control", events2} {
				if _, err := os.Stat(dir + "/" + file); err == nil {
					return &Group{Places: []Place{{Controllers: controllers, Path: path, Dir: dir}}}
				}
			}
		}
	}
	t.Fatal("NEEDS MEMORY CGROUPS: this machine has no memory controller for new groups")
	return nil
}

// nest makes a group in another, as far as memory goes.
func nest(t testing.TB, outer *Group, name string) *Group {
	t.Helper()
	p := outer.Places[0]
	if p.Controllers == "" {
		if err := writeFile(p.Dir+"/cgroup.subtree_control", "+memory"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(p.Dir+"/"+name, 0o755); err != nil {
		t.Fatal(err)
	}
	return &Group{Places: []Place{{Controllers: p.Controllers, Path: p.Path + "/" + name, Dir: p.Dir + "/" + name}}}
}

// limit has a group run out of memory soon.
func limit(t testing.TB, g *Group) {
	t.Helper()
	file := "/memory.limit_in_bytes"
	if g.Places[0].Controllers == "" {
		file = "/memory.max"
	}
	if err := writeFile(g.Places[0].Dir+file, strconv.Itoa(small)); err != nil {
		t.Fatal(err)
	}
}

// watched is a watch that counts how often it was woken.
type watched struct {
	*OOMWatch
	woken atomic.Int32
}

func watch(t testing.TB, w *OOMWatcher, g *Group) *watched {
	t.Helper()
	var o watched
	var err error
	o.OOMWatch, err = w.Watch(g, func() { o.woken.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	if o.OOMWatch == nil {
		t.Fatalf("no watch for %+v", g)
	}
	t.Cleanup(o.Close)
	return &o
}

// runs runs a script in the group to its end.
func runs(t testing.TB, g *Group, script string) {
	t.Helper()
	cmd := start(t, g.Places[0].Path, script)
	if err := cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
	}
}

// rounds is how often what must never go wrong is tried: 20 times, or as often as
// HOLDFAST_OOMS says.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("HOLDFAST_OOMS")); err == nil {
		return n
	}
	return 20
}

// The end of the process is all that is waited for: whoever hears of it and asks
// must be told.
func TestOOMKillIsKnownWhenTheProcessHasEnded(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	var w OOMWatcher
	o := watch(t, &w, g)
	for range rounds() {
		cmd := start(t, g.Places[0].Path, eat)
		dies(t, cmd)
		if !o.Killed() {
			t.Fatal("the process has ended and its kill is not known")
		}
		if o.Killed() {
			t.Fatal("one kill was told twice")
		}
	}
}

func TestOOMKillIsReportedThoughNobodyWaitsForTheProcess(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	var w OOMWatcher
	o := watch(t, &w, g)
	for range 3 {
		before := o.woken.Load()
		cmd := start(t, g.Places[0].Path, eat)
		eventually(t, "the watch is woken", func() bool { return o.woken.Load() > before })
		if !o.Killed() {
			t.Error("woken for nothing")
		}
		if o.Killed() {
			t.Error("one kill was told twice")
		}
		dies(t, cmd)
		if o.Killed() {
			t.Error("the end of the process was told as another kill")
		}
	}
}

func TestOrdinaryKillIsNoOOMKill(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	var w OOMWatcher
	o := watch(t, &w, g)
	cmd := start(t, g.Places[0].Path, "sleep 1000")
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	dies(t, cmd)
	// Nor is one what is freed in time: the pages of files, where there is a disk.
	dir := t.TempDir()
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		t.Fatal(err)
	}
	if fs.Type != unix.TMPFS_MAGIC {
		runs(t, g, "busybox head -c 100m /dev/zero >"+dir+"/file")
	}
	if o.Killed() {
		t.Error("told of a kill for want of memory")
	}
	if n := o.woken.Load(); n != 0 {
		t.Errorf("woken %d times", n)
	}
}

func TestKillsBeforeTheWatchAreNotItsOwn(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	runs(t, g, eat)
	var w OOMWatcher
	o := watch(t, &w, g)
	if o.Killed() {
		t.Error("told of a kill that was before")
	}
	runs(t, g, eat)
	if !o.Killed() {
		t.Error("not told of the kill that was after")
	}
}

// When a pod runs out of memory, version 1 reports it to all containers in it.
func TestOOMOfAPodIsOfTheContainerWhoseProcessWasKilled(t *testing.T) {
	pod := memoryGroup(t, newGroup(t))
	limit(t, pod)
	hit, spared := nest(t, pod, "hit"), nest(t, pod, "spared")
	var w OOMWatcher
	a, b := watch(t, &w, hit), watch(t, &w, spared)
	start(t, spared.Places[0].Path, "sleep 1000")
	start(t, hit.Places[0].Path, eat)
	eventually(t, "the kill is reported", func() bool { return a.woken.Load() > 0 })
	if !a.Killed() {
		t.Error("woken for nothing")
	}
	if b.bell >= 0 {
		var n [8]byte
		if _, err := unix.Read(b.bell, n[:]); err != nil || binary.NativeEndian.Uint64(n[:]) == 0 {
			t.Fatalf("the kernel did not report to the other container, so this shows nothing: %v", err)
		}
	}
	// What the report sets going has run out when nothing is looked at any more.
	eventually(t, "the last look", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.bell < 0 || b.tries == looks
	})
	if b.Killed() || b.woken.Load() > 0 {
		t.Error("a container was told of a kill in another")
	}
}

func TestKillInANestedGroupIsTheContainers(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	inner := nest(t, nest(t, g, "inner"), "most")
	var w OOMWatcher
	o := watch(t, &w, g)
	for range 2 {
		before := o.woken.Load()
		start(t, inner.Places[0].Path, eat)
		eventually(t, "the kill is reported", func() bool { return o.woken.Load() > before })
		if !o.Killed() {
			t.Error("woken for nothing")
		}
		if o.Killed() || o.look(false) || o.Killed() {
			t.Error("one kill was told twice")
		}
	}
}

func TestProcessesThatAreStoppedForWantOfMemoryAreTold(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	if g.Places[0].Controllers == "" {
		t.Skip("NEEDS VERSION 1: version 2 always kills")
	}
	limit(t, g)
	if err := writeFile(g.Places[0].Dir+"/memory.oom_control", "1"); err != nil {
		t.Fatal(err)
	}
	var w OOMWatcher
	o := watch(t, &w, g)
	// Only what touches memory outside of a system call is stopped; in one it fails.
	cmd := start(t, g.Places[0].Path, `x=0123456789abcdef; while :; do x=$x$x; done`)
	eventually(t, "it is reported", func() bool { return o.woken.Load() > 0 })
	if !o.Killed() {
		t.Error("woken for nothing")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	dies(t, cmd)
	if o.Killed() {
		t.Error("the kill that ended it is told as one for want of memory")
	}
}

func TestGroupWithoutMemoryOfItsOwnHasNoWatch(t *testing.T) {
	var w OOMWatcher
	for name, g := range map[string]*Group{
		"nowhere":              {},
		"no memory controller": {Places: []Place{{Controllers: "", Path: "/x", Dir: t.TempDir()}}},
		"gone":                 {Places: []Place{{Controllers: "memory", Path: "/x", Dir: "/nonexistent"}}},
		"this process's own":   of(t, os.Getpid()),
	} {
		o, err := w.Watch(g, func() { t.Errorf("%s: woken", name) })
		if o != nil || err != nil {
			t.Errorf("%s: watch %v, error %v", name, o, err)
		}
		if o.Killed() {
			t.Errorf("%s: told of a kill", name)
		}
		o.Close()
	}
	if w.reports != nil {
		t.Error("the watcher has an epoll set for nothing")
	}
}

// count writes a version 2 file as the kernel would.
func count(t testing.TB, dir string, kills int) {
	t.Helper()
	text := "low 0\nhigh 0\nmax 731\noom 9\noom_kill " + strconv.Itoa(kills) + "\noom_group_kill 0\n"
	if err := os.WriteFile(filepath.Join(dir, events2), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Nothing reports changes of an ordinary file, as a kernel that cannot.
func TestKillsAreKnownWhereNothingIsReported(t *testing.T) {
	dir := t.TempDir()
	count(t, dir, 5)
	var w OOMWatcher
	o := watch(t, &w, &Group{Places: []Place{{Path: "/x", Dir: dir}}})
	for _, step := range []struct {
		kills int
		want  bool
	}{{5, false}, {6, true}, {6, false}, {9, true}, {9, false}, {0, false}} {
		count(t, dir, step.kills)
		if got := o.Killed(); got != step.want {
			t.Errorf("with a count of %d: %v, want %v", step.kills, got, step.want)
		}
	}
	if w.reports != nil {
		t.Error("the watcher has an epoll set for nothing")
	}

	old := t.TempDir()
	for file, text := range map[string]string{"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"} {
		if err := os.WriteFile(filepath.Join(old, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o = watch(t, &w, &Group{Places: []Place{{Controllers: "memory", Path: "/x", Dir: old}}})
	if err := os.WriteFile(filepath.Join(old, "memory.oom_control"), []byte("oom_kill 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if !o.Killed() {
		t.Error("version 1 without reports: the kill is not known")
	}
}

// frozen is a watch of a version 2 group's cgroup.events, which the kernel reports
// changes of in the same way as of memory.events, in hybrid mode too. It has always
// something to tell.
func frozen(t *testing.T, w *OOMWatcher, dir string) *watched {
	t.Helper()
	fd, err := open(unix.AT_FDCWD, dir+"/cgroup.events", unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	o := &watched{OOMWatch: &OOMWatch{control: fd, bell: -1, due: true}}
	if _, err := o.read(); err != nil {
		t.Fatal(err)
	}
	if err := w.add(o.OOMWatch, func() { o.woken.Add(1) }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

// unified is a group's directory by version 2.
func unified(t *testing.T, path string) string {
	t.Helper()
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for i := range hs {
		if hs[i].unified {
			dir, _ := hs[i].dir(path)
			return dir
		}
	}
	t.Skip("NEEDS VERSION 2: it is not mounted here")
	return ""
}

func TestEachChangeOfAVersion2FileIsReported(t *testing.T) {
	dir := unified(t, newGroup(t))
	var w OOMWatcher
	o := frozen(t, &w, dir)
	for i := range 6 {
		before := o.woken.Load()
		if err := writeFile(dir+"/cgroup.freeze", strconv.Itoa(1-i%2)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the change is reported", func() bool { return o.woken.Load() > before })
	}
}

// The kernel has the file of a group that was removed ready for ever.
func TestWatchOfARemovedGroupRests(t *testing.T) {
	var w OOMWatcher
	sign := unified(t, newGroup(t))
	other := frozen(t, &w, sign)
	gone := nest(t, memoryGroup(t, newGroup(t)), "gone")
	v := []*watched{watch(t, &w, gone)}
	v[0].mu.Lock()
	v[0].due = true // so that each report wakes
	v[0].mu.Unlock()
	dirs := []string{gone.Places[0].Dir}
	if second := sign + "/gone"; os.Mkdir(second, 0o755) == nil {
		v = append(v, frozen(t, &w, second))
		dirs = append(dirs, second)
	}
	for _, dir := range dirs {
		if err := unix.Rmdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		before := other.woken.Load()
		if err := writeFile(sign+"/cgroup.freeze", strconv.Itoa(1-i%2)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another change is reported", func() bool { return other.woken.Load() > before })
	}
	for i, o := range v {
		if n := o.woken.Load(); n > 1 {
			t.Errorf("%s: woken %d times", dirs[i], n)
		}
	}
	v[0].Killed()
	if v[0].Killed() {
		t.Error("a group that is gone has kills")
	}
	v[0].look(true)
	v[0].mu.Lock()
	defer v[0].mu.Unlock()
	if v[0].tries > 0 {
		t.Error("a group that is gone is looked at again")
	}
}

// fds is how many descriptors this process has.
func fds(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// hearing is how many goroutines wait for reports.
func hearing() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "(*OOMWatcher).hear(")
}

func TestOneGoroutineHearsOfAllGroupsAndEndsWithTheLastWatch(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	eventually(t, "earlier tests' are gone", func() bool { return hearing() == 0 })
	before := fds(t)
	var w OOMWatcher
	for range 3 {
		var all []*watched
		for range 20 {
			all = append(all, watch(t, &w, g))
		}
		runs(t, g, eat)
		for _, o := range all {
			eventually(t, "each is woken", func() bool { return o.woken.Load() > 0 })
			if n := hearing(); n != 1 {
				t.Errorf("%d goroutines for %d watches", n, len(all))
			}
		}
		for _, o := range all {
			o.Close()
			o.Close()
			if o.Killed() {
				t.Error("a closed watch tells of kills")
			}
		}
		eventually(t, "the goroutine has ended", func() bool { return hearing() == 0 })
		if after := fds(t); after != before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	}
}

func TestWatchesComeAndGoWhileOthersAreWoken(t *testing.T) {
	g := memoryGroup(t, newGroup(t))
	limit(t, g)
	before := fds(t)
	var w OOMWatcher
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				o, err := w.Watch(g, func() {})
				if err != nil {
					t.Error(err)
					return
				}
				o.Killed()
				o.Close()
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	o := watch(t, &w, g)
	for range 5 {
		runs(t, g, eat)
		if !o.Killed() {
			t.Error("a kill was missed")
		}
	}
	close(stop)
	wg.Wait()
	o.Close()
	eventually(t, "the goroutine has ended", func() bool { return hearing() == 0 })
	if after := fds(t); after != before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func BenchmarkKilled(b *testing.B) {
	var w OOMWatcher
	o := watch(b, &w, memoryGroup(b, newGroup(b)))
	b.ReportAllocs()
	for b.Loop() {
		if o.Killed() {
			b.Fatal("killed")
		}
	}
}
