package stdio

import (
	"net"
	"os"
	"testing"

	"github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// Control messages in any shape: an error, or descriptors that stand in it.
func FuzzControlMessage(f *testing.F) {
	one := unix.UnixRights(7)
	for _, oob := range [][]byte{
		nil, one, one[:len(one)-1], one[:unix.CmsgLen(0)], unix.UnixRights(), unix.UnixRights(1, 2, 3, 4),
		unix.UnixCredentials(&unix.Ucred{Pid: 1}), append(unix.UnixCredentials(&unix.Ucred{}), one...), append(one, 0xff),
		[]byte("\x16\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00012345"), // not whole descriptors
	} {
		f.Add(oob)
	}
	f.Fuzz(func(t *testing.T, oob []byte) {
		fds, err := rights(oob)
		if err != nil && fds != nil {
			t.Errorf("%d descriptors with the error %v", len(fds), err)
		}
		if 4*len(fds) > len(oob) {
			t.Errorf("%d descriptors in %d bytes", len(fds), len(oob))
		}
	})
}

// A runtime that sends any message with any descriptors to the console socket:
// it is taken if it is one pty, and else refused, and no descriptor stays.
func FuzzConsoleSocket(f *testing.F) {
	f.Add([]byte("/dev/ptmx"), []byte{0})
	f.Add([]byte("x"), []byte{})
	f.Add([]byte{}, []byte{0})
	f.Add(make([]byte, 5000), []byte{0, 1, 2, 3, 0, 1, 2, 3})
	f.Add([]byte("null"), []byte{2})
	f.Fuzz(func(t *testing.T, name, kinds []byte) {
		if len(kinds) > 64 || len(name) > 64<<10 {
			return
		}
		before := countFds()
		s, err := Open(t.Context(), Paths{Terminal: true}, Setup{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Listen(t.TempDir(), "pty"); err != nil {
			t.Fatal(err)
		}
		want := sendKinds(t, s.socket.path, name, kinds)
		if err := s.Started(); (err == nil) != want {
			t.Errorf("name of %d bytes with %v: %v", len(name), kinds, err)
		}
		s.Close()
		s.moves.Wait()
		if after := countFds(); after > before {
			t.Errorf("%d descriptors stayed", after-before)
		}
	})
}

// sendKinds sends a descriptor of each kind. It reports whether they are one pty
// and there is a message for it to come with.
func sendKinds(t *testing.T, path string, name, kinds []byte) bool {
	var fds []int
	ptys := 0
	for _, k := range kinds {
		switch k % 4 {
		case 0:
			pty, _, err := console.NewPty()
			if err != nil {
				t.Fatal(err)
			}
			defer pty.Close()
			fds = append(fds, int(pty.Fd()))
			ptys++
		default:
			file, err := os.Open([]string{"/proc/self/ns/net", os.DevNull, "/"}[k%4-1])
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			fds = append(fds, int(file.Fd()))
		}
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := conn.WriteMsgUnix(name, oob, nil); err != nil {
		t.Fatal(err)
	}
	return len(fds) == 1 && ptys == 1
}
