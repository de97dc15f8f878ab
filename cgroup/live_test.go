package cgroup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long these tests wait for what is bound to happen; an emulated
// machine may need more, which HOLDFAST_PATIENCE says.
var patience = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("HOLDFAST_PATIENCE")); err == nil {
		return d
	}
	return 20 * time.Second
}()

var groups atomic.Int32

// newGroup makes a group in every hierarchy that this machine has, as an OCI
// runtime does for a container, and removes it when the test ends.
func newGroup(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("NEEDS ROOT: this test makes cgroups; run it as root")
	}
	path := fmt.Sprintf("/holdfast-test-%d-%d", os.Getpid(), groups.Add(1))
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range hs {
		dir := h.point + path
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			// By hand, not by what is tested: kill what is left, then remove.
			deadline := time.Now().Add(patience)
			for {
				err := sweep(dir)
				if err == nil {
					return
				}
				if time.Now().After(deadline) {
					t.Errorf("clean up: %v", err)
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
		if h.is("cpuset") {
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				b, err := os.ReadFile(h.point + "/" + file)
				if err == nil {
					err = os.WriteFile(dir+"/"+file, b, 0)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return path
}

// sweep kills what is in a group and removes it.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, sweep(dir+"/"+e.Name()))
		}
	}
	_ = os.WriteFile(dir+"/freezer.state", []byte("THAWED"), 0)
	procs, _ := os.ReadFile(dir + "/cgroup.procs")
	for _, pid := range strings.Fields(string(procs)) {
		n, _ := strconv.Atoi(pid)
		if n > 1 && n != os.Getpid() {
			_ = unix.Kill(n, unix.SIGKILL)
		}
	}
	return errors.Join(err, unix.Rmdir(dir))
}

// start runs a shell script in the group and returns its process, which is waited
// for when the test ends.
func start(t testing.TB, group, script string) *exec.Cmd {
	t.Helper()
	// The shell waits for a line before it does anything: it is in the group by then.
	cmd := exec.Command("busybox", "sh", "-c", "read go; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		// Where what was to thaw the group failed: what is frozen does not end.
		if hs, err := hierarchies(); err == nil {
			for _, h := range hs {
				_ = os.WriteFile(h.point+group+"/freezer.state", []byte("THAWED"), 0)
			}
		}
		_ = cmd.Wait()
	})
	if err := Join(group, cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "go")
	return cmd
}

// eventually waits until f is true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func of(t testing.TB, pid int) *Group {
	t.Helper()
	g, err := Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func pidsOf(t testing.TB, g *Group) []int {
	t.Helper()
	pids, err := g.Pids()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(pids)
	return pids
}

// dies waits for the process' end by a SIGKILL.
func dies(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("process %d lives on", cmd.Process.Pid)
	}
	if ws := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); ws.Signal() != unix.SIGKILL {
		t.Errorf("process ended with %v, want SIGKILL", cmd.ProcessState)
	}
}

// views are the ways one machine's group can look: as it is, as by version 1 alone,
// and as by version 2 alone.
func views(t *testing.T, g *Group, test func(t *testing.T, g *Group)) {
	var v1, v2 Group
	for _, p := range g.Places {
		if p.Controllers == "" {
			v2.Places = append(v2.Places, p)
		} else {
			v1.Places = append(v1.Places, p)
		}
	}
	for _, v := range []struct {
		name string
		g    *Group
	}{{"as mounted", g}, {"version 1", &v1}, {"version 2", &v2}} {
		if len(v.g.Places) == 0 {
			t.Logf("%s: this machine has none", v.name)
			continue
		}
		t.Run(v.name, func(t *testing.T) { test(t, v.g) })
	}
}

func TestGroupOfAProcessIsFoundInAllHierarchies(t *testing.T) {
	path := newGroup(t)
	cmd := start(t, path, "sleep 1000")
	g := of(t, cmd.Process.Pid)
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Places) != len(hs) {
		t.Errorf("found in %d hierarchies of %d: %+v", len(g.Places), len(hs), g.Places)
	}
	for _, p := range g.Places {
		if p.Path != path || !strings.HasSuffix(p.Dir, path) {
			t.Errorf("found at %+v, want path %s", p, path)
		}
		if _, err := os.Stat(p.Dir + "/cgroup.procs"); err != nil {
			t.Error(err)
		}
	}
	if g.Path() != path {
		t.Errorf("path is %q, want %q", g.Path(), path)
	}
}

func TestGroupCanBeWrittenDownAndReadBack(t *testing.T) {
	path := newGroup(t)
	g := of(t, start(t, path, "sleep 1000").Process.Pid)
	b, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back Group
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(*g, back) {
		t.Errorf("wrote %+v, read %+v", *g, back)
	}
	if len(pidsOf(t, &back)) == 0 {
		t.Error("the group that was read back has no pids")
	}
}

func TestGroupOfAProcessThatIsNotThereIsGone(t *testing.T) {
	cmd := exec.Command("busybox", "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := Of(cmd.Process.Pid); !errors.Is(err, ErrGone) {
		t.Errorf("error is %v, want ErrGone", err)
	}
}

func TestPidsAreThoseOfTheGroupAndOfNestedOnes(t *testing.T) {
	path := newGroup(t)
	cmd := start(t, path, "sleep 1000 & sleep 1000 & wait")
	g := of(t, cmd.Process.Pid)
	views(t, g, func(t *testing.T, g *Group) {
		eventually(t, "three processes", func() bool { return len(pidsOf(t, g)) == 3 })
		if pids := pidsOf(t, g); !slices.Contains(pids, cmd.Process.Pid) {
			t.Errorf("%d is not among %v", cmd.Process.Pid, pids)
		}
	})

	inner := path + "/inner/most"
	for _, p := range g.Places {
		if err := os.MkdirAll(p.Dir+"/inner/most", 0o755); err != nil {
			t.Fatal(err)
		}
		if p.Controllers == "cpuset" {
			for _, d := range []string{"/inner", "/inner/most"} {
				for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
					b, err := os.ReadFile(p.Dir + file)
					if err == nil {
						err = os.WriteFile(p.Dir+d+file, b, 0)
					}
					if err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	all := pidsOf(t, g)
	if err := Join(inner, all[1]); err != nil {
		t.Fatal(err)
	}
	views(t, g, func(t *testing.T, g *Group) {
		if got := pidsOf(t, g); !slices.Equal(got, all) {
			t.Errorf("with one in a nested group: %v, want %v", got, all)
		}
	})
}

func TestGroupThatVanishedHasNoPidsAndNothingToKill(t *testing.T) {
	path := newGroup(t)
	cmd := start(t, path, "sleep 1000")
	g := of(t, cmd.Process.Pid)
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	dies(t, cmd)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	for _, p := range g.Places {
		if _, err := os.Lstat(p.Dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there: %v", p.Dir, err)
		}
	}
	views(t, g, func(t *testing.T, g *Group) {
		if pids, err := g.Pids(); len(pids) != 0 || err != nil {
			t.Errorf("pids are %v, %v", pids, err)
		}
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := g.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
}

func TestKillReachesEveryProcess(t *testing.T) {
	path := newGroup(t)
	probe := of(t, start(t, path, "sleep 1000").Process.Pid)
	views(t, probe, func(t *testing.T, g *Group) {
		cmd := start(t, path, "trap '' TERM HUP INT; sleep 1000 & sleep 1000 & setsid sleep 1000 & wait")
		eventually(t, "four processes", func() bool {
			return len(pidsOf(t, g)) >= 4 && slices.Contains(pidsOf(t, g), cmd.Process.Pid)
		})
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		dies(t, cmd)
		eventually(t, "no process left", func() bool { return len(pidsOf(t, g)) == 0 })
	})
}

// Each of these processes starts another and ends: whoever reads a list of pids
// and signals them comes too late.
func TestKillOutrunsWhatForksAllTheTime(t *testing.T) {
	path := newGroup(t)
	hop := filepath.Join(t.TempDir(), "hop")
	if err := os.WriteFile(hop, []byte("busybox sh $0 &\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	probe := of(t, start(t, path, "sleep 1000").Process.Pid)
	views(t, probe, func(t *testing.T, g *Group) {
		const chains = 8
		cmd := start(t, path, strings.Repeat("busybox sh "+hop+" & ", chains)+"sleep 1000 & wait")
		first := pidsOf(t, g)
		eventually(t, "all other processes", func() bool {
			now := pidsOf(t, g)
			fresh := 0
			for _, pid := range now {
				if !slices.Contains(first, pid) {
					fresh++
				}
			}
			return fresh >= chains
		})
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		dies(t, cmd)
		eventually(t, "no process left", func() bool { return len(pidsOf(t, g)) == 0 })
	})
}

func TestKillReachesAPausedGroup(t *testing.T) {
	path := newGroup(t)
	probe := of(t, start(t, path, "sleep 1000").Process.Pid)
	views(t, probe, func(t *testing.T, g *Group) {
		cmd := start(t, path, "sleep 1000 & wait")
		eventually(t, "two processes", func() bool { return len(pidsOf(t, g)) >= 2 })
		p, err := g.own()
		if err != nil {
			t.Fatal(err)
		}
		if !p.freeze() {
			t.Fatalf("cannot freeze %+v", p)
		}
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		dies(t, cmd)
		wantThawed(t, p)
		eventually(t, "no process left", func() bool { return len(pidsOf(t, g)) == 0 })
	})
}

// wantThawed fails the test if what starts in the group now would be frozen.
func wantThawed(t *testing.T, p Place) {
	t.Helper()
	file, frozen := "/cgroup.freeze", "1\n"
	if p.Controllers != "" {
		file, frozen = "/freezer.state", "FROZEN\n"
	}
	if b, err := os.ReadFile(p.Dir + file); err != nil || string(b) == frozen {
		t.Errorf("%s is %q, %v", file, b, err)
	}
}

func TestThawLetsNestedGroupsGoOn(t *testing.T) {
	path := newGroup(t)
	probe := of(t, start(t, path, "sleep 1000").Process.Pid)
	views(t, probe, func(t *testing.T, g *Group) {
		p, err := g.own()
		if err != nil {
			t.Fatal(err)
		}
		inner := Place{Controllers: p.Controllers, Path: p.Path + "/inner", Dir: p.Dir + "/inner"}
		if err := os.MkdirAll(inner.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		groups := []Place{p}
		if p.Controllers != "" {
			groups = append(groups, inner) // version 2 has it stay as its maker froze it
		}
		for _, frozen := range groups {
			if !frozen.freeze() {
				t.Fatalf("cannot freeze %+v", frozen)
			}
		}
		if err := g.Thaw(); err != nil {
			t.Fatal(err)
		}
		for _, thawed := range groups {
			wantThawed(t, thawed)
		}
	})
	if err := probe.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := probe.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if err := probe.Thaw(); err != nil {
		t.Errorf("thaw of a group that is gone: %v", err)
	}
	root := &Group{Places: []Place{{Path: "/", Dir: "/sys/fs/cgroup"}}}
	if err := root.Thaw(); !errors.Is(err, ErrNotOwn) {
		t.Errorf("thaw of the root: %v, want ErrNotOwn", err)
	}
}

func TestASignalReachesEachProcessOnceButTheOneExcepted(t *testing.T) {
	path := newGroup(t)
	probe := of(t, start(t, path, "sleep 1000").Process.Pid)
	views(t, probe, func(t *testing.T, g *Group) {
		dir := t.TempDir()
		// Each writes a line for each signal and goes on when it is told to.
		script := func(name string) string {
			file := filepath.Join(dir, name)
			return "trap 'echo heard >>" + file + "' USR1; echo ready >" + file + "; while [ ! -e " + dir + "/end ]; do sleep 0.01; done; true"
		}
		one := start(t, path, script("one"))
		two := start(t, path, script("two"))
		except := start(t, path, script("except"))
		holds := func(name string, lines ...string) bool {
			b, _ := os.ReadFile(filepath.Join(dir, name))
			return slices.Equal(strings.Fields(string(b)), lines)
		}
		names := []string{"one", "two", "except"}
		eventually(t, "all are ready", func() bool {
			return !slices.ContainsFunc(names, func(name string) bool { return !holds(name, "ready") })
		})
		// It also ends the sleeps, which do not trap it.
		if err := g.Signal(unix.SIGUSR1, except.Process.Pid); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the signal is heard", func() bool {
			return holds("one", "ready", "heard") && holds("two", "ready", "heard")
		})
		if err := os.WriteFile(filepath.Join(dir, "end"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, cmd := range []*exec.Cmd{one, two, except} {
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		}
		for _, name := range names[:2] {
			if !holds(name, "ready", "heard") {
				t.Errorf("%s heard it more than once", name)
			}
		}
		if !holds("except", "ready") {
			t.Error("the one excepted heard it")
		}
	})
	gone := &Group{Places: []Place{{Path: "/gone", Dir: "/sys/fs/cgroup/holdfast-test-gone"}}}
	if err := gone.Signal(unix.SIGUSR1, 0); err != nil {
		t.Errorf("signal to a group that is gone: %v", err)
	}
	root := &Group{Places: []Place{{Path: "/", Dir: "/sys/fs/cgroup"}}}
	if err := root.Signal(0, 0); !errors.Is(err, ErrNotOwn) {
		t.Errorf("signal to the root: %v, want ErrNotOwn", err)
	}
}

// comeBack puts this process back where it was when the test ends.
func comeBack(t *testing.T) {
	t.Helper()
	before, err := memberships(self)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		hs, err := hierarchies()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range before {
			p, err := place(hs, m)
			if err == nil {
				err = writeFile(p.Dir+"/cgroup.procs", strconv.Itoa(os.Getpid()))
			}
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestKillNeverTouchesAGroupThatHoldsThisProcess(t *testing.T) {
	path := newGroup(t)
	other := start(t, path, "sleep 1000")
	comeBack(t)
	if err := Join(path, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	g := of(t, other.Process.Pid)
	views(t, g, func(t *testing.T, g *Group) {
		if err := g.Kill(); !errors.Is(err, ErrNotOwn) {
			t.Errorf("kill: %v, want ErrNotOwn", err)
		}
		if pids, err := g.Pids(); !errors.Is(err, ErrNotOwn) {
			t.Errorf("pids: %v, %v, want ErrNotOwn", pids, err)
		}
		if err := g.Remove(context.Background()); !errors.Is(err, ErrNotOwn) {
			t.Errorf("remove: %v, want ErrNotOwn", err)
		}
	})
	if err := other.Process.Signal(unix.Signal(0)); err != nil {
		t.Errorf("the other process: %v", err)
	}
}

func TestKillOfAHybridGroupSparesThisProcessInVersion2(t *testing.T) {
	path := newGroup(t)
	cmd := start(t, path, "sleep 1000")
	g := of(t, cmd.Process.Pid)
	u, ok := g.with("")
	if !ok || g.Unified() {
		t.Skip("this machine is not hybrid")
	}
	comeBack(t)
	if err := writeFile(u.Dir+"/cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		t.Fatal(err)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	dies(t, cmd)
}

func TestKillRefusesTheRootGroup(t *testing.T) {
	hs, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	g := &Group{}
	ms, err := memberships(self)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		m.path = "/"
		if p, err := place(hs, m); err == nil {
			g.Places = append(g.Places, p)
		}
	}
	views(t, g, func(t *testing.T, g *Group) {
		if err := g.Kill(); !errors.Is(err, ErrNotOwn) {
			t.Errorf("kill: %v, want ErrNotOwn", err)
		}
	})
}

func TestJoinGoesToEveryHierarchyThatHasTheGroup(t *testing.T) {
	path := newGroup(t)
	cmd := start(t, path, "sleep 1000")
	ms, err := memberships(strconv.Itoa(cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range ms {
		if m.path != path {
			t.Errorf("hierarchy %q has it in %q", m.controllers, m.path)
		}
	}
}

func TestJoinOfAGroupThatNobodyMadeIsAnError(t *testing.T) {
	if err := Join("/holdfast-test-nobody-made-this", os.Getpid()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want fs.ErrNotExist", err)
	}
	for _, pid := range []int{0, -1} {
		if err := Join("/", pid); err == nil {
			t.Errorf("pid %d joined", pid)
		}
	}
}

func TestJoinStaysInTheHierarchy(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "cgroup.procs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Join("/../../../../../../.."+outside, os.Getpid()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want fs.ErrNotExist", err)
	}
	if b, _ := os.ReadFile(filepath.Join(outside, "cgroup.procs")); len(b) != 0 {
		t.Errorf("wrote %q outside", b)
	}
}

func BenchmarkPids(b *testing.B) {
	path := newGroup(b)
	g := of(b, start(b, path, "sleep 1000 & sleep 1000 & wait").Process.Pid)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Pids(); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFrozenSaysWhatTheKernelDoesAndThawEndsIt(t *testing.T) {
	path := newGroup(t)
	cmd := start(t, path, "sleep 1000")
	g := of(t, cmd.Process.Pid)
	views(t, g, func(t *testing.T, g *Group) {
		is := func(want bool) {
			t.Helper()
			if frozen, err := g.Frozen(); frozen != want || err != nil {
				t.Errorf("frozen: %v, %v, want %v", frozen, err, want)
			}
		}
		becomes := func(want, came bool) {
			t.Helper()
			if got, err := g.BecomesFrozen(want); got != came || err != nil {
				t.Errorf("becomes frozen: %v: %v, %v, want %v", want, got, err, came)
			}
		}
		is(false)
		becomes(false, true)
		becomes(true, false) // nobody has told it to
		p, err := g.own()
		if err != nil {
			t.Fatal(err)
		}
		if !p.freeze() {
			t.Fatalf("cannot freeze %+v", p)
		}
		// Freezing was not waited for longer than a moment.
		eventually(t, "frozen", func() bool {
			frozen, err := g.Frozen()
			return frozen && err == nil
		})
		becomes(true, true)
		if err := g.Thaw(); err != nil {
			t.Error(err)
		}
		eventually(t, "thawed", func() bool {
			frozen, err := g.Frozen()
			return !frozen && err == nil
		})
	})
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	dies(t, cmd)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := g.Remove(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Frozen(); !errors.Is(err, ErrGone) {
		t.Errorf("of a group that is gone: %v", err)
	}
	if came, err := g.BecomesFrozen(true); came || !errors.Is(err, ErrGone) {
		t.Errorf("a group that is gone becomes frozen: %v, %v", came, err)
	}
	if err := g.Thaw(); err != nil {
		t.Errorf("thaw of a group that is gone: %v", err)
	}
}

// What the kernel lists may be gone by now, and up to Linux 6.14 it says EINVAL of a
// process that is being reaped, as of a thread's number.
func TestASignalToWhatIsNoProcessAnyMoreIsNoError(t *testing.T) {
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	numbers := []int{cmd.Process.Pid}
	for _, thread := range threads {
		if tid, err := strconv.Atoi(thread.Name()); err == nil && tid != os.Getpid() {
			numbers = append(numbers, tid)
		}
	}
	if len(numbers) < 2 {
		t.Fatal("this process has one thread")
	}
	for _, pid := range numbers {
		if err := new(Place).signal(pid, 0); err != nil {
			t.Errorf("%d: %v", pid, err)
		}
	}
}
