package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// births tells how long programs ran that a shim started, by what the kernel says of
// every process on the machine (Documentation/driver-api/connector.rst): what is left
// of a call's time is the shim's own. To compare with the runtime run alone would need
// hundreds of rounds, as its time varies by a third from run to run.
type births struct {
	fd int
}

// The protocol is in linux/connector.h and linux/cn_proc.h.
const (
	procIndex   = 1 // CN_IDX_PROC, also the multicast group, and CN_VAL_PROC
	startListen = 1 // PROC_CN_MCAST_LISTEN
	eventFork   = 1
	eventExit   = 0x80000000

	netlinkHeader   = unix.SizeofNlMsghdr
	connectorHeader = 20
	eventHeader     = 16
)

// watchBirths begins to listen. close ends it.
func watchBirths() (*births, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return nil, fmt.Errorf("make a connector's socket: %w", err)
	}
	w := &births{fd}
	// Nobody reads while a call is under way.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: procIndex})
	}
	if err == nil {
		err = unix.Sendto(fd, listenMessage(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen to the kernel's process events: %w", err), w.close())
	}
	return w, nil
}

func (w *births) close() error { return unix.Close(w.fd) }

func listenMessage() []byte {
	b := make([]byte, netlinkHeader+connectorHeader+4)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_DONE)
	binary.NativeEndian.PutUint32(b[12:], uint32(os.Getpid()))
	c := b[netlinkHeader:]
	binary.NativeEndian.PutUint32(c, procIndex)
	binary.NativeEndian.PutUint32(c[4:], procIndex)
	binary.NativeEndian.PutUint16(c[16:], 4)
	binary.NativeEndian.PutUint32(c[connectorHeader:], startListen)
	return b
}

// birth is a thread that began or ended.
type birth struct {
	end             bool
	thread, process int
	parent          int // process that began it
	at              time.Duration
}

// first says whether it is a process's first thread.
func (b birth) first() bool { return b.thread == b.process }

// ranFor is how long the children of parent ran, all together, of which the kernel
// has told since the last call, begin and end. The kernel tells of an end before the
// parent can learn of it.
func (w *births) ranFor(parent int) (total time.Duration, err error) {
	type life struct {
		began, ended time.Duration
		over         bool
	}
	children := make(map[int]*life)
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(w.fd, buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EAGAIN) {
			break
		}
		if err != nil {
			return 0, fmt.Errorf("read the kernel's process events: %w", err)
		}
		b, ok := parseBirth(buf[:n])
		if !ok {
			continue
		}
		if !b.end {
			if b.parent == parent && b.first() {
				children[b.process] = &life{began: b.at}
			}
			continue
		}
		// Its memory goes with its last thread, which need not be the first one.
		if l := children[b.process]; l != nil {
			l.ended = b.at
			l.over = l.over || b.first()
		}
	}
	for _, l := range children {
		if l.over {
			total += l.ended - l.began
		}
	}
	return total, nil
}

// beyond tells add what is left of the time that a container's shim took since the last
// call, when that of the programs that it ran is taken away; nothing without w.
func (w *births) beyond(c *container, took time.Duration, add func(own time.Duration)) error {
	if w == nil {
		return nil
	}
	ran, err := w.ranFor(c.hold.Pid())
	if err == nil {
		add(took - ran)
	}
	return err
}

// forget leaves out what was before.
func (w *births) forget(c *container) error {
	return w.beyond(c, 0, func(time.Duration) {})
}

// parseBirth reads a message. All other events are not ok.
func parseBirth(b []byte) (birth, bool) {
	const head = netlinkHeader + connectorHeader + eventHeader
	if len(b) < head+16 {
		return birth{}, false
	}
	event := b[netlinkHeader+connectorHeader:]
	number := func(i int) int { return int(binary.NativeEndian.Uint32(event[eventHeader+4*i:])) }
	at := time.Duration(binary.NativeEndian.Uint64(event[8:])) // ns since boot
	switch binary.NativeEndian.Uint32(event) {
	case eventFork: // the parent's thread and process, then the child's
		return birth{thread: number(2), process: number(3), parent: number(1), at: at}, true
	case eventExit: // thread and process
		return birth{end: true, thread: number(0), process: number(1), at: at}, true
	}
	return birth{}, false
}
