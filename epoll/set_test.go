package epoll

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func newSet(t *testing.T) *Set {
	t.Helper()
	s, err := New("test epoll")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newEvent(t testing.TB) int {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func ring(t testing.TB, fd int) {
	t.Helper()
	if _, err := unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
}

func TestKeysComeBackWithAllTheirBits(t *testing.T) {
	s := newSet(t)
	keys := []uint64{1<<64 - 1, 1 << 63, 1 << 31, 1, 0}
	for _, k := range keys {
		fd := newEvent(t)
		if err := s.Add(fd, unix.EPOLLIN|unix.EPOLLET, k); err != nil {
			t.Fatal(err)
		}
		ring(t, fd)
	}
	got, err := s.Wait()
	if err != nil || !slices.Equal(got, keys) {
		t.Errorf("got %x, %v; want %x", got, err, keys)
	}
}

func TestMoreThanOneWaitHoldsComesWithTheNext(t *testing.T) {
	s := newSet(t)
	const n = 100
	for i := range n {
		fd := newEvent(t)
		if err := s.Add(fd, unix.EPOLLIN|unix.EPOLLONESHOT, uint64(i)); err != nil {
			t.Fatal(err)
		}
		ring(t, fd)
	}
	var got []uint64
	for len(got) < n {
		keys, err := s.Wait()
		if err != nil || len(keys) == 0 {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		got = append(got, keys...)
	}
	slices.Sort(got)
	for i, k := range got {
		if k != uint64(i) {
			t.Fatalf("key %d is %d: one came twice", i, k)
		}
	}
}

func TestWhoWaitsIsWokenByWhatIsAddedLater(t *testing.T) {
	s := newSet(t)
	got := make(chan uint64)
	go func() {
		keys, err := s.Wait()
		if err != nil {
			close(got)
			return
		}
		got <- keys[0]
	}()
	fd := newEvent(t)
	ring(t, fd)
	if err := s.Add(fd, unix.EPOLLIN, 7); err != nil {
		t.Fatal(err)
	}
	if k := <-got; k != 7 {
		t.Errorf("got %d, want 7", k)
	}
}

func TestWhatWasChangedHasItsNewKeyAndWhatWasRemovedIsSilent(t *testing.T) {
	s := newSet(t)
	changed, removed := newEvent(t), newEvent(t)
	for i, fd := range []int{changed, removed} {
		if err := s.Add(fd, unix.EPOLLIN, uint64(i)); err != nil {
			t.Fatal(err)
		}
		ring(t, fd)
	}
	if err := s.Add(changed, unix.EPOLLIN, 9); !errors.Is(err, unix.EEXIST) {
		t.Errorf("added twice: %v, want EEXIST", err)
	}
	if err := s.Change(changed, unix.EPOLLIN, 9); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(removed); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Wait(); err != nil || !slices.Equal(got, []uint64{9}) {
		t.Errorf("got %v, %v; want 9 alone", got, err)
	}
}

func TestAPlainFileCannotBePolled(t *testing.T) {
	s := newSet(t)
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := s.Add(int(f.Fd()), unix.EPOLLIN, 1); !errors.Is(err, unix.EPERM) {
		t.Errorf("got %v, want EPERM", err)
	}
}

func TestCloseEndsTheWaitAndEverythingElse(t *testing.T) {
	s := newSet(t)
	ended := make(chan error)
	go func() {
		_, err := s.Wait()
		ended <- err
	}()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("the wait ended with %v, want %v", err, os.ErrClosed)
	}
	if err := s.Add(newEvent(t), unix.EPOLLIN, 1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("added afterwards: %v, want %v", err, os.ErrClosed)
	}
}

func TestWaitingAllocatesNothing(t *testing.T) {
	s := newSet(t)
	fd := newEvent(t)
	if err := s.Add(fd, unix.EPOLLIN, 1); err != nil {
		t.Fatal(err)
	}
	ring(t, fd)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.Wait(); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("a wait makes %v allocations", n)
	}
	runtime.KeepAlive(s)
}
