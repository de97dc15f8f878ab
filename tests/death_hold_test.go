package tests

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// opens holds a process up where it opens a file: by fanotify(7), which asks
// before every open in a directory. So a step in a program's work can be reached
// for certain, without the program's help.
type opens struct {
	group *os.File
	held  chan string // gets the path that the process is held at

	mu   sync.Mutex // guards what is below
	pid  int        // whose opens are held; 0: everybody's
	name string     // the file's, or what the hidden one that becomes it begins with; empty holds nothing
}

// watchOpens watches a directory until the test ends; everybody who is held then
// goes on.
func watchOpens(t *testing.T, dir string) *opens {
	t.Helper()
	// Non-blocking for the descriptors that come with events: some are fifos.
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC)
	if err != nil {
		t.Fatalf("a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS is missing: fanotify_init: %v", err)
	}
	o := &opens{group: os.NewFile(uintptr(fd), "fanotify"), held: make(chan string, 1)}
	err = unix.FanotifyMark(fd, unix.FAN_MARK_ADD, unix.FAN_OPEN_PERM|unix.FAN_EVENT_ON_CHILD, -1, dir)
	if err != nil {
		o.group.Close()
		t.Fatalf("a kernel with CONFIG_FANOTIFY_ACCESS_PERMISSIONS is missing: fanotify_mark: %v", err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		if err := o.run(); err != nil {
			o.group.Close() // nobody would be answered any more
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		o.group.Close()
		done.Wait()
	})
	return o
}

// hold has the process stand still when it opens that file. A name that begins
// with a dot stands for those that go on with another and anything.
func (o *opens) hold(pid int, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pid, o.name = pid, name
}

func (o *opens) run() error {
	buf := make([]byte, 4096)
	for {
		n, err := o.group.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("fanotify: %w", err)
		}
		for rest := buf[:n]; len(rest) >= int(eventSize); {
			var e unix.FanotifyEventMetadata
			if err := binary.Read(bytes.NewReader(rest), binary.NativeEndian, &e); err != nil {
				return err
			}
			rest = rest[e.Event_len:]
			if err := o.decide(&e); err != nil {
				return err
			}
		}
	}
}

const eventSize = unix.FAN_EVENT_METADATA_LEN

// decide lets the opener go on, or not.
func (o *opens) decide(e *unix.FanotifyEventMetadata) error {
	defer unix.Close(int(e.Fd))
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", e.Fd))
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	base := filepath.Base(path)
	matches := base == o.name || strings.HasPrefix(o.name, ".") && strings.HasPrefix(base, o.name+".")
	if (o.pid == 0 || int(e.Pid) == o.pid) && matches {
		o.name = ""
		o.held <- path
		return nil
	}
	var answer bytes.Buffer
	if err := binary.Write(&answer, binary.NativeEndian, unix.FanotifyResponse{Fd: e.Fd, Response: unix.FAN_ALLOW}); err != nil {
		return err
	}
	// The opener may have been killed meanwhile.
	if _, err := o.group.Write(answer.Bytes()); err != nil && !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nil
}

func (o *opens) wait(t *testing.T, patience time.Duration) {
	t.Helper()
	select {
	case <-o.held:
	case <-time.After(patience):
		t.Fatalf("nobody has opened the file within %v", patience)
	}
}
