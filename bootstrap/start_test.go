package bootstrap

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/bundle"
	"github.com/holdfast-shim/holdfast/proto"
	bootapi "github.com/holdfast-shim/holdfast/proto/bootstrap"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/runc"
)

func TestStartAnswersEachContainerdInItsDialect(t *testing.T) {
	for _, c := range []struct {
		name   string
		env    string
		stdin  func(n *node) proto.Message
		check  func(t *testing.T, out []byte, address string)
		absent bool // stdin is /dev/null
	}{
		{name: "1.6 without options", absent: true, check: checkPlain},
		{name: "1.6 with options", stdin: func(*node) proto.Message { return pack(t, &runcopts.Options{BinaryName: "crun"}) }, check: checkPlain},
		{name: "1.7 without options", env: "MAX_SHIM_VERSION=2", absent: true, check: checkJSON},
		{name: "2.2 with options", env: "MAX_SHIM_VERSION=2", stdin: func(*node) proto.Message { return pack(t, &runcopts.Options{Root: "/r"}) }, check: checkJSON},
		{name: "2.3", env: "MAX_SHIM_VERSION=2", stdin: func(n *node) proto.Message { return n.params("c1") }, check: checkResult},
		{name: "2.3 with a variable less", stdin: func(n *node) proto.Message { return n.params("c1") }, check: checkResult},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			dir := n.bundle("c1", nil)
			cmd := n.command("c1", "start")
			cmd.Env = append(cmd.Env, c.env)
			if !c.absent {
				b, err := c.stdin(n).Marshal()
				if err != nil {
					t.Fatal(err)
				}
				cmd.Stdin = bytes.NewReader(b)
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			want, err := socketPath(n.sockets, "/run/c.sock", testNamespace(), "c1")
			if err != nil {
				t.Fatal(err)
			}
			address := "unix://" + want
			c.check(t, out, address)
			if got, err := bundle.ReadAddress(dir); err != nil || got != address {
				t.Errorf("the bundle says %q, %v", got, err)
			}
			if pid := shimPid(t, address); pid <= 0 {
				t.Errorf("pid %d", pid)
			}
		})
	}
}

func checkPlain(t *testing.T, out []byte, address string) {
	if string(out) != address {
		t.Errorf("answered %q, want %q", out, address)
	}
}

func checkJSON(t *testing.T, out []byte, address string) {
	want := `{"version":2,"address":"` + address + `","protocol":"ttrpc"}`
	if string(out) != want || !json.Valid(out) {
		t.Errorf("answered %s, want %s", out, want)
	}
}

func checkResult(t *testing.T, out []byte, address string) {
	var r bootapi.BootstrapResult
	if err := r.Unmarshal(out); err != nil {
		t.Fatalf("%v: %q", err, out)
	}
	if r.Version != 3 || r.Address != address || r.Protocol != "ttrpc" {
		t.Errorf("answered %+v", r)
	}
}

func pack(t *testing.T, m proto.Message) proto.Message {
	t.Helper()
	boxed, err := proto.Pack(m)
	if err != nil {
		t.Fatal(err)
	}
	return boxed
}

func TestTheShimIsAProcessOfItsOwn(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	cmd := n.command("c1", "-debug", "start")
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET=/run/notify", "MAX_SHIM_VERSION=2", "SOME_PROXY=there", "NAMESPACE=other", "HOME=/root")
	// A descriptor that containerd forgot to close.
	leaked, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	cmd.ExtraFiles = []*os.File{nil, nil, os.NewFile(uintptr(mustDup(t, leaked)), "leaked")}
	defer cmd.ExtraFiles[2].Close()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	address, err := bundle.ReadAddress(dir)
	if err != nil {
		t.Fatal(err)
	}
	pid := shimPid(t, address)

	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d of process %d, %v", sid, pid, err)
	}
	if pgid, err := unix.Getpgid(pid); err != nil || pgid != pid {
		t.Errorf("process group %d of process %d, %v", pgid, pid, err)
	}
	if cwd, err := os.Readlink(proc(pid, "cwd")); err != nil || cwd != dir {
		t.Errorf("works in %s, %v", cwd, err)
	}
	for fd := range 3 {
		if f, err := os.Readlink(proc(pid, "fd/"+strconv.Itoa(fd))); err != nil || f != "/dev/null" {
			t.Errorf("descriptor %d is %s, %v", fd, f, err)
		}
	}
	fds, err := os.ReadDir(proc(pid, "fd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if f, _ := os.Readlink(proc(pid, "fd/"+fd.Name())); f == "/etc/passwd" {
			t.Errorf("descriptor %s is the one that containerd forgot", fd.Name())
		}
	}
	cmdline, err := os.ReadFile(proc(pid, "cmdline"))
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	want := []string{"-namespace", testNamespace(), "-id", "c1", "-address", "/run/c.sock", "-publish-binary", "/bin/true", "-debug"}
	if strings.Join(args[1:], " ") != strings.Join(want, " ") {
		t.Errorf("runs with %q", args)
	}
	environment, err := os.ReadFile(proc(pid, "environ"))
	if err != nil {
		t.Fatal(err)
	}
	env := environ(strings.Split(strings.TrimSuffix(string(environment), "\x00"), "\x00"))
	for name, want := range map[string]string{
		"NAMESPACE": testNamespace(), "TTRPC_ADDRESS": "/run/c.sock.ttrpc", "GRPC_ADDRESS": "/run/c.sock",
		"GOMAXPROCS": "1", runc.ProcsEnv: "2", "SOME_PROXY": "there", "NOTIFY_SOCKET": "", "MAX_SHIM_VERSION": "",
	} {
		if got := env.get(name); got != want {
			t.Errorf("%s=%q, want %q", name, got, want)
		}
	}
	comm, err := os.ReadFile(proc(pid, "comm"))
	if err != nil || !strings.HasPrefix(filepath.Base(os.Args[0]), strings.TrimSpace(string(comm))) {
		t.Errorf("is called %q, %v", comm, err)
	}
}

func mustDup(t *testing.T, fd int) int {
	t.Helper()
	d, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func proc(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }

func TestParamsReachTheShim(t *testing.T) {
	n := newNode(t)
	n.bundle("c1", nil)
	p := n.params("c1")
	p.ContainerdGrpcAddress = "/other/grpc.sock"
	p.ContainerdTtrpcAddress = "/other/ttrpc.sock"
	p.ContainerdBinary = "/other/containerd"
	p.LogLevel = bootapi.LogLevel_LOG_LEVEL_WARN
	p.SocketDir = n.sockets + "2"
	defer os.RemoveAll(p.SocketDir)
	b, err := p.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	cmd := n.command("c1", "start")
	cmd.Stdin = bytes.NewReader(b)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var r bootapi.BootstrapResult
	if err := r.Unmarshal(out); err != nil {
		t.Fatal(err)
	}
	if want, _ := socketPath(p.SocketDir, "/other/grpc.sock", testNamespace(), "c1"); r.Address != "unix://"+want {
		t.Errorf("listens at %s, want %s", r.Address, want)
	}
	pid := shimPid(t, r.Address)
	cmdline, _ := os.ReadFile(proc(pid, "cmdline"))
	if got := strings.ReplaceAll(string(cmdline), "\x00", " "); !strings.HasSuffix(got, " -address /other/grpc.sock -publish-binary /other/containerd ") {
		t.Errorf("runs with %q", got)
	}
	environment, _ := os.ReadFile(proc(pid, "environ"))
	env := environ(strings.Split(string(environment), "\x00"))
	if env.get("TTRPC_ADDRESS") != "/other/ttrpc.sock" || env.get("GRPC_ADDRESS") != "/other/grpc.sock" || env.get(LogLevelEnv) != "4" {
		t.Errorf("environment %q", env)
	}
}

func TestTheSocketIsPrivate(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	n := newNode(t)
	n.bundle("c1", nil)
	path := strings.TrimPrefix(n.mustStart("c1"), "unix://")
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket's mode is %v", st.Mode())
	}
	if st, err = os.Stat(n.sockets); err != nil || st.Mode() != os.ModeDir|0o700 {
		t.Errorf("the directory's mode is %v, %v", st.Mode(), err)
	}
	if left, err := os.ReadDir(n.sockets); err != nil || len(left) != 1 {
		t.Errorf("the directory holds %v, %v", left, err)
	}
}

func TestContainersOfAPodShareAShim(t *testing.T) {
	n := newNode(t)
	pod := map[string]string{"io.kubernetes.cri.sandbox-id": "p1"}
	n.bundle("p1", pod)
	dir := n.bundle("c1", pod)
	n.bundle("c2", map[string]string{"io.kubernetes.cri.sandbox-id": "other"})
	first := n.mustStart("p1")
	second := n.mustStart("c1")
	other := n.mustStart("c2")
	if first != second {
		t.Errorf("%s and %s", first, second)
	}
	if other == first {
		t.Errorf("another pod's container got the same shim")
	}
	if got, err := bundle.ReadAddress(dir); err != nil || got != first {
		t.Errorf("the second bundle says %q, %v", got, err)
	}
	if pids := children(t); len(pids) != 2 {
		t.Errorf("%d shims", len(pids))
	}
}

// Any number of containers of a pod may be started at once.
func TestManyStartsAtOnceMakeOneShim(t *testing.T) {
	const many = 16
	for round := range 3 {
		n := newNode(t)
		pod := map[string]string{"io.kubernetes.cri.sandbox-id": "p1"}
		for i := range many {
			n.bundle("c"+strconv.Itoa(i), pod)
		}
		switch round {
		case 1: // a dead shim's socket is in the way
			if err := os.Mkdir(n.sockets, 0o700); err != nil {
				t.Fatal(err)
			}
			deadSocket(t, n, "p1")
		case 2: // and so is a start that fails
			n.kind = failing
			if _, err := n.start("c0", nil); err != nil {
				t.Fatal(err)
			}
			n.kind = both
		}
		addresses := make([]string, many)
		errs := make([]error, many)
		var wg sync.WaitGroup
		for i := range many {
			wg.Add(1)
			go func() {
				defer wg.Done()
				addresses[i], errs[i] = n.start("c"+strconv.Itoa(i), nil)
			}()
		}
		wg.Wait()
		for i := range many {
			if errs[i] != nil || addresses[i] != addresses[0] {
				t.Errorf("round %d, start %d: %q, %v", round, i, addresses[i], errs[i])
			}
		}
		if t.Failed() {
			return
		}
		pid := shimPid(t, addresses[0])
		for _, child := range children(t) {
			if child != pid && alive(child) {
				t.Errorf("round %d: process %d beside the shim %d", round, child, pid)
			}
		}
		if left, _ := os.ReadDir(n.sockets); len(left) != 1 {
			t.Errorf("round %d: the directory of sockets holds %v", round, left)
		}
		killChildren(t)
	}
}

// alive is false for a zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return len(rest) > 0 && rest[0] != 'Z'
}

// deadSocket leaves the socket file of a group whose shim is dead.
func deadSocket(t *testing.T, n *node, group string) string {
	t.Helper()
	path, err := socketPath(n.sockets, "/run/c.sock", testNamespace(), group)
	if err != nil {
		t.Fatal(err)
	}
	s := mustBind(t, path)
	unix.Close(s.fd)
	s.fd = -1
	return path
}

func TestADeadSocketIsReplaced(t *testing.T) {
	n := newNode(t)
	n.bundle("c1", nil)
	address := n.mustStart("c1")
	pid := shimPid(t, address)
	killAndReap(pid)
	again := n.mustStart("c1")
	if again != address {
		t.Errorf("%s, then %s", address, again)
	}
	if now := shimPid(t, again); now == pid {
		t.Errorf("process %d lives again", pid)
	}
}

// Containerd kills a start that takes too long; `delete`, which it runs then, is
// not told of a directory of sockets that is not the usual one.
func TestTheAddressIsInTheBundleBeforeThereIsASocket(t *testing.T) {
	n := newNode(t)
	dir := n.bundle("c1", nil)
	if err := makeSocketDir(n.sockets); err != nil {
		t.Fatal(err)
	}
	lock, err := lockDir(n.sockets, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	cmd := n.command("c1", "start")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var address string
	for deadline := time.Now().Add(time.Minute); address == ""; runtime.Gosched() {
		if address, err = bundle.ReadAddress(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("no address while start waits to make the socket")
		}
	}
	if left, err := os.ReadDir(n.sockets); err != nil || len(left) > 0 {
		t.Errorf("in the directory of sockets: %v, %v", left, err)
	}
	lock.release()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if shimPid(t, address) == 0 {
		t.Error("nobody is there")
	}
}

// A start whose client goes away is killed by containerd, which then calls no
// `delete`: who has made the socket's file must not be the only one to know of it.
func TestAStartThatIsKilledLeavesNoSocket(t *testing.T) {
	n := newNode(t)
	n.bundle("c1", nil)
	if err := makeSocketDir(n.sockets); err != nil {
		t.Fatal(err)
	}
	// With nobody who reads its answer, no start comes further than that.
	reads, answer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reads.Close()
	defer answer.Close()
	fill(t, answer)
	for round := range 20 {
		made := nextFile(t, n.sockets)
		cmd := n.command("c1", "start")
		cmd.Stdout = answer
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		made()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Fatalf("round %d: start has answered: the test could not have failed", round)
		}
		eventually(t, "the socket is gone, and the shim", func() bool {
			left, err := os.ReadDir(n.sockets)
			return err == nil && len(left) == 0 && !slices.ContainsFunc(children(t), alive)
		})
		killChildren(t) // which are zombies
	}
}

// fill writes to a pipe until nothing more goes in.
func fill(t *testing.T, pipe *os.File) {
	t.Helper()
	raw, err := pipe.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var full error
	err = raw.Write(func(fd uintptr) bool {
		for full == nil {
			_, full = unix.Write(int(fd), make([]byte, 4096))
		}
		return true
	})
	if err != nil || full != unix.EAGAIN {
		t.Fatalf("fill a pipe: %v, %v", err, full)
	}
}

// nextFile returns what waits until somebody makes a file in dir.
func nextFile(t *testing.T, dir string) (wait func()) {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_CREATE); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		defer f.Close()
		if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Read(make([]byte, 4096)); err != nil {
			t.Fatalf("no file was made in %s: %v", dir, err)
		}
	}
}

// After an upgrade from containerd's own shim its pods live on.
func TestAShimOfAnotherKindIsToldByItsVersion(t *testing.T) {
	for _, c := range []struct {
		kind         string
		json, result int32
	}{
		{kind: both, json: 2, result: 3},
		{kind: onlyV2, json: 2, result: 2},
		{kind: onlyV3, json: 3, result: 3},
	} {
		t.Run(c.kind, func(t *testing.T) {
			n := newNode(t)
			n.kind = c.kind
			n.bundle("c1", nil)
			address := n.mustStart("c1")

			cmd := n.command("c1", "start")
			cmd.Env = append(cmd.Env, "MAX_SHIM_VERSION=2")
			out, err := cmd.CombinedOutput()
			if want := fmt.Sprintf(`{"version":%d,"address":%q,"protocol":"ttrpc"}`, c.json, address); err != nil || string(out) != want {
				t.Errorf("answered %s, %v; want %s", out, err, want)
			}
			b, err := n.params("c1").Marshal()
			if err != nil {
				t.Fatal(err)
			}
			cmd = n.command("c1", "start")
			cmd.Stdin = bytes.NewReader(b)
			out, err = cmd.CombinedOutput()
			var r bootapi.BootstrapResult
			if err != nil || r.Unmarshal(out) != nil || r.Version != c.result || r.Address != address {
				t.Errorf("answered %+v, %v", r, err)
			}
			if pids := children(t); len(pids) != 1 {
				t.Errorf("%d shims", len(pids))
			}
		})
	}
}

func TestStartFailsInOneLineAndLeavesNothing(t *testing.T) {
	long := strings.Repeat("x", 60)
	for _, c := range []struct {
		name  string
		says  string // part of the line
		setup func(t *testing.T, n *node, cmd *exec.Cmd)
	}{
		{"garbage on stdin", "read the runtime options: malformed input", func(t *testing.T, n *node, cmd *exec.Cmd) {
			cmd.Stdin = strings.NewReader("hello")
		}},
		{"options that are none", "read the runtime options: malformed input", func(t *testing.T, n *node, cmd *exec.Cmd) {
			boxed := unhex(t, "0a1a"+hex.EncodeToString([]byte("containerd.runc.v1.Options"))+"1201ff")
			cmd.Stdin = bytes.NewReader(boxed)
		}},
		{"params with options that are none", "read the bootstrap parameters: malformed input", func(t *testing.T, n *node, cmd *exec.Cmd) {
			p := n.params("c1")
			boxed, err := proto.Pack(&runcopts.Options{})
			if err != nil {
				t.Fatal(err)
			}
			boxed.Value = []byte{0xff}
			p.Extensions = []*bootapi.Extension{{Value: boxed}}
			b, err := p.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdin = bytes.NewReader(b)
		}},
		{"too much on stdin", "input is larger than 10 MiB", func(t *testing.T, n *node, cmd *exec.Cmd) {
			cmd.Stdin = bytes.NewReader(make([]byte, maxInput+1))
		}},
		{"a spec that is none", "malformed config.json", func(t *testing.T, n *node, cmd *exec.Cmd) {
			if err := os.WriteFile(filepath.Join(cmd.Dir, "config.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
		{"a socket directory that is too long", "bytes, at most 107 fit", func(t *testing.T, n *node, cmd *exec.Cmd) {
			p := n.params("c1")
			p.SocketDir = "/" + long
			b, _ := p.Marshal()
			cmd.Stdin = bytes.NewReader(b)
		}},
		{"a relative socket directory", "not an absolute path", func(t *testing.T, n *node, cmd *exec.Cmd) {
			p := n.params("c1")
			p.SocketDir = "s"
			b, _ := p.Marshal()
			cmd.Stdin = bytes.NewReader(b)
		}},
		{"a socket directory that is a file", "not a directory", func(t *testing.T, n *node, cmd *exec.Cmd) {
			p := n.params("c1")
			p.SocketDir = filepath.Join(cmd.Dir, "config.json")
			b, _ := p.Marshal()
			cmd.Stdin = bytes.NewReader(b)
		}},
		{"a socket directory that others may write to", "others may write", func(t *testing.T, n *node, cmd *exec.Cmd) {
			if err := os.Mkdir(n.sockets, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(n.sockets, 0o777); err != nil {
				t.Fatal(err)
			}
		}},
		{"a cgroup that is not there", "join the shim's cgroup", func(t *testing.T, n *node, cmd *exec.Cmd) {
			b, _ := pack(t, &runcopts.Options{ShimCgroup: "/holdfast/no/such/group"}).Marshal()
			cmd.Stdin = bytes.NewReader(b)
		}},
		{"a bundle that is not there", "write /no/such/bundle/address: ", func(t *testing.T, n *node, cmd *exec.Cmd) {
			cmd.Args = slices.Insert(cmd.Args, len(cmd.Args)-1, "-bundle", "/no/such/bundle")
		}},
		{"no address file", "write", func(t *testing.T, n *node, cmd *exec.Cmd) {
			if err := os.MkdirAll(filepath.Join(cmd.Dir, "address", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(filepath.Join(cmd.Dir, "address")) })
		}},
		{"nobody reads the answer", "answer", func(t *testing.T, n *node, cmd *exec.Cmd) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			r.Close()
			t.Cleanup(func() { w.Close() })
			cmd.Stdout = w
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			n.bundle("c1", nil)
			cmd := n.command("c1", "start")
			c.setup(t, n, cmd)
			var stdout, stderr bytes.Buffer
			cmd.Stderr = &stderr
			if cmd.Stdout == nil {
				cmd.Stdout = &stdout
			}
			err := cmd.Run()
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 {
				t.Errorf("ended with %v", err)
			}
			line := stderr.String()
			if strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "start: ") || !strings.Contains(line, c.says) {
				t.Errorf("said %q, want one line with %q", line, c.says)
			}
			if stdout.Len() > 0 {
				t.Errorf("answered %q", stdout.String())
			}
			os.RemoveAll(filepath.Join(n.bundles, "c1", "address", "x"))
			os.Remove(filepath.Join(n.bundles, "c1", "address"))
			n.nothingLeft("c1")
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStdinThatSaysNothingDoesNotHold(t *testing.T) {
	t.Run("a terminal", func(t *testing.T) {
		n := newNode(t)
		n.bundle("c1", nil)
		master, slave := pty(t)
		defer master.Close()
		defer slave.Close()
		cmd := n.command("c1", "start")
		cmd.Stdin = slave
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "unix://") {
			t.Errorf("%s, %v", out, err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		n := newNode(t)
		n.bundle("c1", nil)
		inner := n.command("c1", "start")
		cmd := exec.Command("/bin/sh", append([]string{"-c", `exec "$@" <&-`, "sh", os.Args[0]}, inner.Args[1:]...)...)
		cmd.Dir, cmd.Env = inner.Dir, inner.Env
		if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "unix://") {
			t.Errorf("%s, %v", out, err)
		}
	})
	t.Run("options of another kind of shim", func(t *testing.T) {
		n := newNode(t)
		n.bundle("c1", nil)
		out, err := n.start("c1", unhex(t, "0a09"+hex.EncodeToString([]byte("some.Type"))+"1203"+"010203"))
		if err != nil || !strings.HasPrefix(out, "unix://") {
			t.Errorf("%s, %v", out, err)
		}
	})
}

func pty(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

// The binary is replaced under the feet of a start during every upgrade.
func TestStartWorksWhileItsBinaryIsBeingReplaced(t *testing.T) {
	for _, c := range []struct {
		name    string
		replace func(path string) error
	}{
		{"removed", os.Remove},
		{"another in its place", func(path string) error {
			if err := os.WriteFile(path+".new", []byte("#!/bin/false\n"), 0o755); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode(t)
			dir := n.bundle("c1", nil)
			own, err := os.ReadFile("/proc/self/exe")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(n.bundles, "containerd-shim")
			if err := os.WriteFile(path, own, 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := n.command("c1", "start")
			cmd.Path = path
			stdin, err := cmd.StdinPipe() // which it reads to the end first
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := c.replace(path); err != nil {
				t.Fatal(err)
			}
			stdin.Close()
			if err := cmd.Wait(); err != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			address, err := bundle.ReadAddress(dir)
			if err != nil {
				t.Fatal(err)
			}
			pid := shimPid(t, address)
			if exe, err := os.ReadFile(proc(pid, "exe")); err != nil || !bytes.Equal(exe, own) {
				t.Errorf("the shim is another program: %v", err)
			}
		})
	}
}

func BenchmarkStart(b *testing.B) {
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"annotations":{}}`), 0o600); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		cmd := exec.Command("/proc/self/exe", "-namespace", "ns", "-id", "c1", "start")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), tinyEnv+"="+hanging, socketEnv+"="+dir+"/s")
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		b.StopTimer()
		tasks, _ := filepath.Glob("/proc/self/task/*/children")
		for _, file := range tasks {
			pids, _ := os.ReadFile(file)
			for _, f := range strings.Fields(string(pids)) {
				pid, _ := strconv.Atoi(f)
				killAndReap(pid)
			}
		}
		b.StartTimer()
	}
}
