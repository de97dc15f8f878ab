package bootstrap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mapsEnv names the file that a process maps: see playMapping.
const mapsEnv = "HOLDFAST_TEST_MAPS"

// playMapping has one thread wait for a page of the file, and another map the file,
// which drops its pages and waits for the first with the lock of this process's memory
// held. So does who maps a file of a server that has gone (nfs).
func playMapping(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	go func() { _, _ = unix.Read(fd, make([]byte, 1)) }()
	for threadsThatWait(os.Getpid()) == 0 {
		time.Sleep(time.Millisecond)
	}
	again, err := unix.Open(path, unix.O_RDONLY, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	_, err = unix.Mmap(again, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE)
	return err
}

// threadsThatWait counts those in an uninterruptible sleep.
func threadsThatWait(pid int) (n int) {
	dir := fmt.Sprintf("/proc/%d/task/", pid)
	threads, _ := os.ReadDir(dir)
	for _, th := range threads {
		if b, err := os.ReadFile(dir + th.Name() + "/stat"); err == nil && bytes.Contains(b, []byte(") D ")) {
			n++
		}
	}
	return n
}

// stuckFile mounts a file system whose one file opens, and is never read. It lets go of
// all who wait for it when it is closed.
func stuckFile(t *testing.T) (path string, free func()) {
	t.Helper()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("NEEDS FUSE: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("stuck", dir, "fuse", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatalf("NEEDS FUSE: %v", err)
	}
	free = func() { // closing the descriptor would wait for who reads it
		_ = unix.Unmount(dir, unix.MNT_FORCE|unix.MNT_DETACH)
	}
	t.Cleanup(func() {
		free()
		unix.Close(fd)
	})
	go serveStuck(fd)
	return filepath.Join(dir, "file"), free
}

// serveStuck speaks the protocol of fuse(4), 7.23: LOOKUP, OPEN and what must be
// answered to come so far; READ is not answered.
func serveStuck(fd int) {
	const (
		lookup, getattr, open, read, initialize = 1, 3, 14, 15, 26

		attrSize = 88
	)
	const keepCache, directIO = 2, 1 // FOPEN_…
	opened := uint32(keepCache)
	in := make([]byte, 1<<17)
	le := binary.LittleEndian
	for {
		n, err := unix.Read(fd, in)
		if err == unix.EINTR || err == unix.ENOENT {
			continue
		}
		if err != nil || n < 40 {
			return
		}
		attr := make([]byte, attrSize)
		le.PutUint64(attr[0:], 2)          // ino
		le.PutUint64(attr[8:], 4096)       // size
		le.PutUint32(attr[60:], 0o100_444) // mode
		le.PutUint32(attr[64:], 1)         // nlink
		var body []byte
		errno := int32(0)
		switch le.Uint32(in[4:]) {
		case initialize:
			body = make([]byte, 24)
			le.PutUint32(body[0:], 7)
			le.PutUint32(body[4:], 22)
			le.PutUint32(body[8:], 4096)  // max_readahead
			le.PutUint32(body[12:], 1)    // FUSE_ASYNC_READ
			le.PutUint16(body[16:], 12)   // max_background
			le.PutUint32(body[20:], 4096) // max_write
		case lookup:
			body = append(make([]byte, 40), attr...)
			le.PutUint64(body[0:], 2)     // nodeid
			le.PutUint64(body[16:], 3600) // entry_valid
			le.PutUint64(body[24:], 3600) // attr_valid
		case getattr:
			if le.Uint64(in[16:]) == 1 {
				le.PutUint32(attr[60:], 0o40_755)
			}
			body = append(make([]byte, 16), attr...)
		case open:
			body = make([]byte, 16)
			le.PutUint32(body[8:], opened) // mapping what is opened so drops the cache
			opened = keepCache | directIO
		case read:
			continue
		default:
			errno = -int32(unix.ENOSYS)
		}
		out := make([]byte, 16, 16+len(body))
		le.PutUint32(out[0:], uint32(16+len(body)))
		le.PutUint32(out[4:], uint32(errno))
		le.PutUint64(out[8:], le.Uint64(in[8:]))
		_, _ = unix.Write(fd, append(out, body...))
	}
}

// The arguments of a process are in its memory, and that can be locked for ever: by a
// server that has gone, or by a container that serves itself.
func TestDeleteDoesNotWaitForTheMemoryOfOthers(t *testing.T) {
	path, free := stuckFile(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), mapsEnv+"="+path)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		free()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for deadline := time.Now().Add(10 * time.Second); threadsThatWait(cmd.Process.Pid) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the memory was not locked")
		}
	}
	done := make(chan error, 1)
	go func() { done <- endRuntimes(t.TempDir()) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("waits for the lock")
		free()
		<-done
	}
}
