package bootstrap

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"

	"github.com/holdfast-shim/holdfast/proto/task"
)

// The sums were made with sha256sum from what containerd joins.
func TestTheSocketHasTheNameThatContainerdLooksFor(t *testing.T) {
	for _, c := range []struct{ dir, address, namespace, group, want string }{
		{"", "/run/containerd/containerd.sock", "k8s.io", "abc",
			"/run/containerd/s/a99a1752d3a0fadfb1f869026f16760475df03a572e20f4ccea9e6c1e5470b72"},
		{"/run/x", "/run/containerd/containerd.sock", "default", "c1",
			"/run/x/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888"},
		{"/run//x/", "/run/./containerd//containerd.sock", "default", "c1", // all is cleaned
			"/run/x/d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888"},
		{"/run/x", "", "default", "c1", // no -address
			"/run/x/3a4ba0ad328f407b30cccb555302fc1c4c73e1d92d16d2583787f9faddf320ca"},
		{"/run/x", "/run/containerd/containerd.sock", "default", "", // a group without a name
			"/run/x/c74a9fcb58e00dc4bca4eab79e985d4016b808ac3e9e160ba71f565d374985b8"},
		{"/run/x", "/run/containerd/containerd.sock", "default", "../x", // annotations are anybody's
			"/run/x/0d8b7408c869d29c4ba718e242692b0376e5add76ad7d0a7a22c50d6acaf3546"},
	} {
		if got, err := socketPath(c.dir, c.address, c.namespace, c.group); err != nil || got != c.want {
			t.Errorf("%+v: %s, %v", c, got, err)
		}
	}
	for _, dir := range []string{"s", "./s", "/s\x00", "/" + strings.Repeat("x", 42)} {
		if path, err := socketPath(dir, "", "", ""); !errors.Is(err, ErrSocketPath) {
			t.Errorf("%q: %s, %v", dir, path, err)
		}
	}
	if path, err := socketPath("/"+strings.Repeat("x", 41), "", "", ""); err != nil || len(path) != 107 {
		t.Errorf("as long as can be: %d bytes, %v", len(path), err)
	}
}

// tempDir is short enough for sockets, which t.TempDir is not.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestTheLongestPathCanBeListenedOn(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, strings.Repeat("x", maxSocketPath-len(dir)-1))
	s := mustBind(t, path)
	conn, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := s.remove(); err != nil {
		t.Error(err)
	}
}

func mustSocket(t *testing.T) *socket {
	t.Helper()
	s, err := newSocket()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustBind(t *testing.T, path string) *socket {
	t.Helper()
	s := mustSocket(t)
	if err := s.bind(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestOnlyTheOwnSocketIsRemoved(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	first := mustBind(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := mustBind(t, path)
	if err := first.remove(); err != nil || !exists(path) {
		t.Errorf("the first took the second's: %v", err)
	}
	if err := second.remove(); err != nil || exists(path) {
		t.Errorf("the second left its own: %v", err)
	}
}

func TestClaimGivesUpOnAShimThatHangs(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	hung := mustBind(t, path)
	began := time.Now()
	s := mustSocket(t)
	version, err := claim(path, "c1", 2, 50*time.Millisecond, s)
	if version != 0 || s.path != "" || !errors.Is(err, ErrHung) {
		t.Errorf("%v, %v", version, err)
	}
	if d := time.Since(began); d < 50*time.Millisecond {
		t.Errorf("gave up after %v", d)
	}
	if !exists(path) {
		t.Error("the socket is gone")
	}
	unix.Close(hung.fd)
	version, err = claim(path, "c1", 2, time.Minute, s)
	if err != nil || version != 0 || s.path != path {
		t.Fatalf("when it has ended: %v, %v", version, err)
	}
	s.remove()
}

func TestClaimGivesUpOnAFullQueue(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	hung := mustBind(t, path)
	if err := unix.Listen(hung.fd, 0); err != nil {
		t.Fatal(err)
	}
	for {
		conn, err := connect(path)
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	if version, err := claim(path, "c1", 2, 50*time.Millisecond, nil); version != 0 || !errors.Is(err, ErrHung) {
		t.Errorf("%v, %v", version, err)
	}
}

// The start that was making the shim failed, or was killed.
func TestClaimTakesOverFromAStartThatFails(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	other := mustBind(t, path)
	done := make(chan error, 1)
	s := mustSocket(t)
	go func() {
		_, err := claim(path, "c1", 2, time.Minute, s)
		done <- err
	}()
	// When the claim waits for an answer, it is in the queue.
	queued, _, err := unix.Accept(other.fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(queued)
	if err := other.remove(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || s.path != path {
		t.Fatalf("%q, %v", s.path, err)
	}
	if file, err := fileAt(path); err != nil || file != s.file {
		t.Errorf("%v, %v", file, err)
	}
	s.remove()
}

func TestClaimDoesNotTrustJustAnything(t *testing.T) {
	t.Run("a file in the way", func(t *testing.T) {
		path := filepath.Join(tempDir(t), "s")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if version, err := claim(path, "c1", 2, time.Minute, nil); version != 0 || !errors.Is(err, ErrSocketPath) || !exists(path) {
			t.Errorf("%v, %v", version, err)
		}
	})
	t.Run("another user's shim", func(t *testing.T) {
		dir := tempDir(t)
		if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "s")
		as(t, 65534, func() { mustBind(t, path) })
		if version, err := claim(path, "c1", 2, time.Minute, nil); version != 0 || !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "65534") {
			t.Errorf("%v, %v", version, err)
		}
	})
	t.Run("something that closes", func(t *testing.T) {
		answer := serveRaw(t, func(c net.Conn) {})
		// It tries again until the time is up, which on a busy machine it may be in the
		// midst of a try.
		if version, err := claim(answer, "c1", 2, 200*time.Millisecond, nil); version != 0 || !errors.Is(err, errLost) && !errors.Is(err, ErrHung) {
			t.Errorf("%v, %v", version, err)
		}
	})
	for name, reply := range map[string][]byte{
		"something that speaks http":  []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
		"a frame of another stream":   message(3, typeResponse, nil),
		"a frame that is no response": message(1, 3, nil),
		"a response that is none":     message(1, typeResponse, []byte{0xff}),
		"a status that is none":       message(1, typeResponse, []byte{0x0a, 0x01, 0x08}),
		"a frame without end":         {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, typeResponse, 0},
	} {
		t.Run(name, func(t *testing.T) {
			path := serveRaw(t, func(c net.Conn) {
				io.ReadFull(c, make([]byte, frameHeader))
				c.Write(reply)
				io.Copy(io.Discard, c)
			})
			if version, err := claim(path, "c1", 2, time.Minute, nil); version != 0 || !errors.Is(err, ErrForeign) {
				t.Errorf("%v, %v", version, err)
			}
		})
	}
	t.Run("another service", func(t *testing.T) {
		srv, err := ttrpc.NewServer()
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Close()
		path := filepath.Join(tempDir(t), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(context.Background(), l)
		if version, err := claim(path, "c1", 2, time.Minute, nil); version != 0 || !errors.Is(err, ErrForeign) {
			t.Errorf("%v, %v", version, err)
		}
	})
}

func message(stream uint32, typ byte, body []byte) []byte {
	b := make([]byte, frameHeader, frameHeader+len(body))
	binary.BigEndian.PutUint32(b, uint32(len(body)))
	binary.BigEndian.PutUint32(b[4:], stream)
	b[8] = typ
	return append(b, body...)
}

// serveRaw listens and gives each connection to f, then closes it.
func serveRaw(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	path := filepath.Join(tempDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	return path
}

// as runs f on a thread that belongs to another user.
func as(t *testing.T, uid int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const unchanged = ^uintptr(0)
	// The system call itself: package syscall would change all threads.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, uintptr(uid), unchanged); errno != 0 {
		t.Fatal(errno)
	}
	defer func() {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, unchanged, 0, unchanged); errno != 0 {
			panic(errno)
		}
	}()
	f()
}

func TestTheLockOfTheDirectoryIsNotWaitedForForever(t *testing.T) {
	dir := tempDir(t)
	lock, err := lockDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir, 10*time.Millisecond); err == nil || !strings.Contains(err.Error(), "somebody holds it") {
		t.Errorf("%v", err)
	}
	lock.release()
	lock, err = lockDir(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	lock.release()
}

func TestAStickyDirectoryOfOthersWillDo(t *testing.T) {
	dir := tempDir(t)
	for mode, ok := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o777 | os.ModeSticky: true, 0o770: false, 0o702: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if err := makeSocketDir(dir); (err == nil) != ok {
			t.Errorf("%v: %v", mode, err)
		}
	}
}

func TestListenOnDescriptor3(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	s := mustBind(t, path)
	l, err := inherited(mustDup(t, s.fd), word(t, "x"))
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(s.fd)
	s.fd = -1
	if l.Path() != path {
		t.Errorf("listens at %s", l.Path())
	}
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			c.Close()
		}
		done <- err
	}()
	conn, err := connect(path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil || exists(path) {
		t.Errorf("Close: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
}

func TestClosingLeavesAnothersSocket(t *testing.T) {
	for _, when := range []string{"replaced", "removed before it was found", "gone with its directory"} {
		t.Run(when, func(t *testing.T) {
			dir := tempDir(t)
			path := filepath.Join(dir, "s")
			s := mustBind(t, path)
			if when == "removed before it was found" {
				os.Remove(path)
			}
			l, err := inherited(mustDup(t, s.fd), word(t, "x"))
			if err != nil {
				t.Fatal(err)
			}
			if when == "gone with its directory" {
				os.RemoveAll(dir)
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				return
			}
			os.Remove(path)
			mustBind(t, path)
			if err := l.Close(); err != nil || !exists(path) {
				t.Errorf("removed another's: %v", err)
			}
		})
	}
}

func TestDescriptor3MustBeWhatStartMakes(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	abstract, err := net.Listen("unix", "@holdfast-test-"+strconv.Itoa(os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	abstractFile, err := abstract.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer abstractFile.Close()
	tcp, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(tcp)
	idle, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(idle)
	packets, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(packets)
	if err := unix.Bind(packets, &unix.SockaddrUnix{Name: filepath.Join(tempDir(t), "s")}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(packets, 1); err != nil {
		t.Fatal(err)
	}
	for name, fd := range map[string]int{
		"not open": 1 << 20, "a file": int(file.Fd()), "an abstract socket": int(abstractFile.Fd()),
		"an internet socket": tcp, "a socket that does not listen": idle, "a socket of packets": packets,
	} {
		if l, err := inherited(fd, word(t, "x")); !errors.Is(err, ErrNoSocket) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

// word is what the shim gets from a start that has written text and ended.
func word(t *testing.T, text string) int {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(fds[1], []byte(text)); err != nil {
		t.Fatal(err)
	}
	unix.Close(fds[1])
	return fds[0]
}

func TestASocketThatNobodyWasToldOfIsGivenUp(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(path string) *socket
		left    bool
	}{
		"it lies nowhere":    {func(string) *socket { return mustSocket(t) }, false},
		"it listens":         {func(path string) *socket { return mustBind(t, path) }, false},
		"it does not listen": {func(path string) *socket { return mustBindOnly(t, path) }, false},
		"another start has put its own there": {func(path string) *socket {
			s := mustBindOnly(t, path)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			mustBind(t, path)
			return s
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(tempDir(t), "s")
			s := c.prepare(path)
			fd := s.fd
			s.fd = -1 // it is closed
			if l, err := inherited(fd, word(t, "")); !errors.Is(err, ErrUnfinished) {
				t.Errorf("%v, %v", l, err)
			}
			if exists(path) != c.left {
				t.Errorf("a socket is left: %v", !c.left)
			}
		})
	}
	s := mustSocket(t)
	defer unix.Close(s.fd)
	file := filepath.Join(t.TempDir(), "no pipe")
	fd, err := unix.Open(file, unix.O_CREAT|unix.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := inherited(s.fd, fd); !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "is not the pipe") {
		t.Errorf("without a pipe: %v, %v", l, err)
	}
}

// mustBindOnly is what a start leaves that is killed between bind and listen.
func mustBindOnly(t *testing.T, path string) *socket {
	t.Helper()
	s := mustSocket(t)
	if err := unix.Bind(s.fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func TestListenOnAPath(t *testing.T) {
	path := filepath.Join(tempDir(t), "s")
	l, err := Listen(Flags{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	task.Register(srv, tinyTask{end: func() {}})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), l) }()
	if _, err := Listen(Flags{Socket: path}); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second time: %v", err)
	}
	srv.Close()
	<-served
	if exists(path) {
		t.Error("the socket is left")
	}
	if _, err := Listen(Flags{Socket: "/" + strings.Repeat("x", 107)}); !errors.Is(err, ErrSocketPath) {
		t.Errorf("too long: %v", err)
	}
}

func TestOthersAreRefusedAndDisturbNothing(t *testing.T) {
	dir := tempDir(t)
	path := filepath.Join(dir, "s")
	l, err := Listen(Flags{Socket: path})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	srv, err := ttrpc.NewServer()
	if err != nil {
		t.Fatal(err)
	}
	task.Register(srv, tinyTask{end: func() {}})
	go srv.Serve(context.Background(), l)
	defer srv.Close()

	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	ask := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := task.NewClient(client, 3).Connect(ctx, &task.ConnectRequest{}); err != nil {
			t.Errorf("the service is disturbed: %v", err)
		}
	}
	ask()

	// As if somebody had opened the doors.
	if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		var other *os.File
		as(t, 65534, func() { other, err = connectAnyway(path) })
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call(other, 1, task.ServiceV3, "Connect", nil, time.Minute); !errors.Is(err, errLost) {
			t.Errorf("another user got %v", err)
		}
		other.Close()
	}
	ask()
}

// connectAnyway does not ask who is on the other side.
func connectAnyway(path string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func FuzzProbeAnswer(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x0a, 0x02, 0x08, 0x0c})
	f.Add([]byte{0x12, 0x01, 0x00, 0x0a, 0x00})
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := responseCode(body); err != nil && !errors.Is(err, ErrForeign) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}
