package containerd

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/holdfast-shim/holdfast/tests/harness"
)

func TestCRIAPodOfTwoContainersHasOneShim(t *testing.T) {
	k := startCRI(t)
	p := k.pod("pod")
	one := p.run("one", "sh", "-c", "echo out; echo err >&2; sleep 1000")
	two := p.run("two", "sleep", "1000")
	shim := k.shimOf(p.id)
	for _, id := range []string{one, two} {
		if got := k.shimOf(id); got != shim {
			t.Errorf("the shim of %s is %d, that of the pod %d", id, got, shim)
		}
	}
	p.waitLog("one", "stdout out", "stderr err")
	k.wantExec(one, 3, "in\n", "sh", "-c", "echo in; exit 3")
	if s := k.statusOf(one); s.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("the first is %v", s.State)
	}
	// What it was configured with.
	r, err := k.api.Status(k.ctx(), &cri.StatusRequest{Verbose: true})
	if err != nil || !strings.Contains(r.Info["config"], `"io.containerd.runc.v2"`) {
		t.Errorf("the daemon's configuration: %v, %v", r, err)
	}
	gone := k.hold(shim)
	p.remove()
	k.ended("the shim of a removed pod", gone)
}

// A runtime type of its own gets its options as a file or a section of TOML.
func TestCRIAPodOfARuntimeClass(t *testing.T) {
	k := startCRI(t)
	handlers := []string{"holdfast"}
	if !strings.HasPrefix(k.release.version, "1.6.") { // which sends no sections, and takes no path
		handlers = append(handlers, "section", "path")
	}
	for _, handler := range handlers {
		runtime := "io.containerd.holdfast.v2"
		if handler == "path" {
			// A program that is found by no other way.
			if out, err := exec.Command("cp", k.shim, k.path(harness.ShimName)).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			runtime, k.shim = "io.containerd.runc.v2", k.path(harness.ShimName)
		}
		p, err := k.tryPod(handler, handler, cri.NamespaceMode_POD)
		if err != nil {
			t.Fatal(err)
		}
		id := p.run("one", "sleep", "1000")
		if k.shimOf(id) != k.shimOf(p.id) {
			t.Error("container and pod have two shims")
		}
		k.wantExec(id, 0, handler+"\n", "hostname")
		if info := k.must("container", "info", p.id); !strings.Contains(info, strconv.Quote(runtime)) {
			t.Errorf("the pod's runtime is another:\n%s", info)
		}
		// Where the options have the runtime keep its containers.
		if names := harness.Names(k.runtimeRoot()); !slices.Contains(names, id) || !slices.Contains(names, p.id) {
			t.Errorf("%s: the runtime's root has %q", handler, names)
		}
		p.remove()
	}
}

func TestCRIExecProbesComeBackEachWithItsOwn(t *testing.T) {
	k := startCRI(t)
	p := k.pod("pod")
	id := p.run("one", "sleep", "1000")
	k.shimOf(id)
	probes := 30
	if long {
		probes = 2000
	}
	for i := range probes {
		k.wantExec(id, int32(i%2), fmt.Sprintln(i), "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i%2))
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			r, err := k.execSync(id, "sh", "-c", fmt.Sprintf("echo %d; exit %d", i, i))
			if err != nil || r.ExitCode != int32(i) || string(r.Stdout) != fmt.Sprintln(i) {
				t.Errorf("probe %d: %v, %v", i, r, err)
			}
		})
	}
	wg.Wait()
	// One that takes too long is ended.
	if _, err := k.api.ExecSync(k.ctx(), &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"sleep", "2000"}, Timeout: 1}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("a probe that takes too long: %v, want DeadlineExceeded", err)
	}
	k.eventually("the probe has ended", func() error {
		if ps := k.must("task", "ps", id); len(strings.Split(strings.TrimSpace(ps), "\n")) != 1+1 {
			return fmt.Errorf("%w: %s", errNotYet, ps)
		}
		return nil
	})
	if r, err := k.execSync(id, "/not/there"); err == nil && r.ExitCode == 0 {
		t.Errorf("a probe that is not there: %v", r)
	}
	p.remove()
}

func TestCRIStopLetsAContainerEndInItsGrace(t *testing.T) {
	k := startCRI(t)
	p := k.pod("pod")
	well := p.run("well", "sh", "-c", "trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done")
	deaf := p.run("deaf", "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
	k.shimOf(well)
	p.waitLog("well", "stdout ready")
	p.waitLog("deaf", "stdout ready")
	k.stopContainer(well, 60)
	k.stopContainer(deaf, 1)
	if s := k.exited(well); s.ExitCode != 5 || s.Reason != "Error" {
		t.Errorf("one that heeds SIGTERM: %d, %s", s.ExitCode, s.Reason)
	}
	p.waitLog("well", "stdout bye")
	if s := k.exited(deaf); s.ExitCode != 137 {
		t.Errorf("one that does not: %d, %s", s.ExitCode, s.Reason)
	}
	// A container that has ended goes, and its name is free for the next attempt.
	if _, err := k.api.RemoveContainer(k.ctx(), &cri.RemoveContainerRequest{ContainerId: well}); err != nil {
		t.Error(err)
	}
	again := p.run("well", "sh", "-c", "exit 0")
	if s := k.exited(again); s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("the next attempt: %d, %s", s.ExitCode, s.Reason)
	}
	p.remove()
}

func TestCRIStatsAndUpdates(t *testing.T) {
	k := startCRI(t)
	p := k.pod("pod")
	limit := func(bytes int64) func(*cri.ContainerConfig) {
		return func(c *cri.ContainerConfig) { c.Linux.Resources.MemoryLimitInBytes = bytes }
	}
	id := p.runWith("one", limit(64<<20), "sh", "-c", "x=$(seq 1 20000); echo ready; while :; do sleep 0.05; done")
	k.shimOf(id)
	p.waitLog("one", "stdout ready")
	k.wantLimit(id, fmt.Sprint(64<<20))
	r, err := k.api.ContainerStats(k.ctx(), &cri.ContainerStatsRequest{ContainerId: id})
	if err != nil {
		t.Fatal(err)
	}
	if cpu := r.Stats.GetCpu().GetUsageCoreNanoSeconds().GetValue(); cpu == 0 {
		t.Errorf("no CPU was used: %v", r.Stats)
	}
	if mem := r.Stats.GetMemory().GetWorkingSetBytes().GetValue(); mem == 0 || mem > 64<<20 {
		t.Errorf("%d bytes of memory are in use: %v", mem, r.Stats)
	}
	all, err := k.api.ListContainerStats(k.ctx(), &cri.ListContainerStatsRequest{})
	if err != nil || len(all.Stats) != 1 || all.Stats[0].Attributes.Id != id {
		t.Errorf("stats of all: %v, %v", all, err)
	}
	pod, err := k.api.PodSandboxStats(k.ctx(), &cri.PodSandboxStatsRequest{PodSandboxId: p.id})
	if err != nil || pod.Stats.GetLinux().GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 || len(pod.Stats.Linux.Containers) != 1 {
		t.Errorf("stats of the pod: %v, %v", pod, err)
	}
	if _, err := k.api.UpdateContainerResources(k.ctx(), &cri.UpdateContainerResourcesRequest{
		ContainerId: id, Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 32 << 20},
	}); err != nil {
		t.Error(err)
	}
	k.wantLimit(id, fmt.Sprint(32<<20))
	p.remove()
}

func TestCRITellsWhoWasOOMKilled(t *testing.T) {
	k := startCRI(t)
	p := k.pod("pod")
	k.shimOf(p.id)
	id := p.runWith("eater", func(c *cri.ContainerConfig) { c.Linux.Resources.MemoryLimitInBytes = 8 << 20 },
		"sh", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
	if s := k.exited(id); s.ExitCode != 137 || s.Reason != "OOMKilled" {
		t.Errorf("exit code %d, reason %q; want 137, OOMKilled", s.ExitCode, s.Reason)
	}
	p.remove()
}

func TestCRIPodsLiveThroughARestartAndEveryUpgrade(t *testing.T) {
	k := startCRI(t)
	g := k.gate()
	at := func(c *cri.ContainerConfig) {
		c.Mounts = []*cri.Mount{{HostPath: g.dir, ContainerPath: "/mnt"}}
	}
	p := k.pod("pod")
	shim := k.shimOf(p.id)
	steady := p.run("steady", "sleep", "1000")
	mortal := p.runWith("mortal", at, "sh", "-c", "echo ready; "+g.script("exit 7"))
	p.waitLog("mortal", "stdout ready")
	task, _ := k.task(mortal)
	init := k.hold(task.pid)
	k.kill()
	g.open()
	k.ended("a container while the daemon is down", init)
	k.up()
	k.ready()
	if s := k.exited(mortal); s.ExitCode != 7 {
		t.Errorf("the exit while the daemon was down: %d, %s; want 7", s.ExitCode, s.Reason)
	}
	// What it said last is nobody's: of a container that has ended the daemon lets go
	// of the output unread.
	count := 0
	k.upgrades(func() {
		k.ready()
		count++
		if got := k.shimOf(steady); got != shim || k.shimOf(p.id) != shim {
			t.Errorf("%s: the pod's shim was %d and is %d", k.release, shim, got)
		}
		k.wantExec(steady, 3, "in\n", "sh", "-c", "echo in; exit 3")
		id := p.run(fmt.Sprintf("c%d", count), "sh", "-c", "echo ready; sleep 1000")
		if got := k.shimOf(id); got != shim {
			t.Errorf("%s: the shim of a new container is %d, not the pod's, %d", k.release, got, shim)
		}
		p.waitLog(fmt.Sprintf("c%d", count), "stdout ready")
		r, err := k.api.PodSandboxStatus(k.ctx(), &cri.PodSandboxStatusRequest{PodSandboxId: p.id})
		if err != nil || r.Status.State != cri.PodSandboxState_SANDBOX_READY {
			t.Errorf("%s: the pod: %v, %v", k.release, r, err)
		}
	})
	k.stopContainer(steady, 0)
	if s := k.exited(steady); s.ExitCode != 137 {
		t.Errorf("the first container ended with %d", s.ExitCode)
	}
	p.remove()
}

// Ten at a time, half of them with a network namespace of their own.
func TestCRIPodsComeAndGoAndLeaveNothing(t *testing.T) {
	k := startCRI(t)
	pods, rounds := 6, 1
	if long {
		pods, rounds = 100, 3
	}
	for round := range rounds {
		places := make(chan struct{}, 10)
		var wg sync.WaitGroup
		for i := range pods {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				if err := k.podsLife(fmt.Sprintf("pod%d-%d", round, i), i); err != nil {
					t.Errorf("pod %d of round %d: %v", i, round, err)
				}
			})
		}
		wg.Wait()
		k.checkLeaks()
	}
	p := k.pod("proof")
	k.shimOf(p.id)
	p.remove()
	k.checkWarnings()
}

func (k *kubelet) podsLife(name string, i int) error {
	network := cri.NamespaceMode_NODE
	if i%2 == 1 {
		network = cri.NamespaceMode_POD
	}
	p, err := k.tryPod(name, "", network)
	if err != nil {
		return err
	}
	var ids []string
	for _, name := range []string{"one", "two"} {
		id, err := p.tryRun(name, nil, "sh", "-c", "echo ready; sleep 1000")
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	r, err := k.execSync(ids[0], "sh", "-c", "exit 3")
	if err != nil || r.ExitCode != 3 {
		return fmt.Errorf("exec: %v, %w", r, err)
	}
	if i%3 == 0 {
		if _, err := k.api.StopContainer(k.ctx(), &cri.StopContainerRequest{ContainerId: ids[1]}); err != nil {
			return err
		}
		if _, err := k.api.RemoveContainer(k.ctx(), &cri.RemoveContainerRequest{ContainerId: ids[1]}); err != nil {
			return err
		}
	}
	return p.tryRemove()
}

// checkWarnings fails the test when a shim, or the daemon on account of one, has
// warned of something.
func (k *kubelet) checkWarnings() {
	k.t.Helper()
	for line := range strings.Lines(k.log()) {
		warns := strings.Contains(line, "level=warn") || strings.Contains(line, "level=error") ||
			strings.Contains(line, `"level":"warn"`) || strings.Contains(line, `"level":"error"`)
		if warns && !slices.ContainsFunc(daemonsOwn, func(own string) bool { return strings.Contains(line, own) }) {
			k.t.Errorf("a warning: %s", line)
		}
	}
}

// daemonsOwn are warnings that containerd gives whatever its shim.
var daemonsOwn = []string{
	"Configuration migrated from version 2",
	"failed check for fsverity support",
	"DEPRECATION: ",
	"Failed to get podSandbox status for container event", // of a pod that was just removed
	"collecting metrics for",                              // of a shim that ends just then
	"cleaning up after shim disconnected",                 // as it says of each, in 1.6 and 1.7
}

// long has tests take their long forms, as HOLDFAST_LONG asks.
var long = os.Getenv("HOLDFAST_LONG") != ""
