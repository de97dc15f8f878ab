package main

import (
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func TestAChildIsCountedForItsWholeLifeAndOnce(t *testing.T) {
	w, err := watchBirths()
	if err != nil {
		t.Fatalf("NEEDS ROOT AND THE KERNEL'S PROCESS EVENTS: %v", err)
	}
	defer w.close()
	began := time.Now()
	for range 2 {
		if err := exec.Command("true").Run(); err != nil {
			t.Fatal(err)
		}
	}
	most := time.Since(began)
	ran, err := w.ranFor(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if ran <= 0 || ran > most {
		t.Errorf("two children ran for %v, want more than nothing and no more than %v", ran, most)
	}
	if ran, err = w.ranFor(os.Getpid()); ran != 0 || err != nil {
		t.Errorf("afterwards %v, %v; want 0", ran, err)
	}
}

func TestBirthsAreRead(t *testing.T) {
	event := func(what uint32, at uint64, numbers ...uint32) []byte {
		b := make([]byte, netlinkHeader+connectorHeader)
		b = binary.NativeEndian.AppendUint32(b, what)
		b = binary.NativeEndian.AppendUint32(b, 1) // CPU
		b = binary.NativeEndian.AppendUint64(b, at)
		for _, n := range numbers {
			b = binary.NativeEndian.AppendUint32(b, n)
		}
		return b
	}
	fork := event(eventFork, 5, 11, 10, 21, 20)
	for _, c := range []struct {
		name    string
		message []byte
		want    birth
		ok      bool
	}{
		{"a thread begins", fork, birth{thread: 21, process: 20, parent: 10, at: 5}, true},
		{"a thread ends", event(eventExit, 6, 21, 20, 0, 17, 11, 10), birth{end: true, thread: 21, process: 20, at: 6}, true},
		{"another event", event(2, 6, 21, 20, 0, 0), birth{}, false},
		{"cut short", slices.Clone(fork[:len(fork)-1]), birth{}, false},
		{"empty", nil, birth{}, false},
	} {
		if got, ok := parseBirth(c.message); got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v; want %+v, %v", c.name, got, ok, c.want, c.ok)
		}
	}
}
