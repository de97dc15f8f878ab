package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// terminal is the caller's own terminal while a container has it.
type terminal struct {
	file   *os.File
	before unix.Termios
	raw    bool
}

// openTerminal takes the terminal that the container's will be shown on. With
// input it must be standard input's; else any of the standard streams' will do,
// and none is no error: then the answer is nil.
func openTerminal(input bool) (*terminal, error) {
	files := []*os.File{os.Stdin}
	if !input {
		files = []*os.File{os.Stdout, os.Stderr, os.Stdin}
	}
	for _, f := range files {
		if t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			return &terminal{file: f, before: *t}, nil
		}
	}
	if input {
		return nil, errors.New("standard input is not a terminal: leave out -t")
	}
	return nil, nil
}

// setRaw hands every key to the container and leaves its output alone, as
// cfmakeraw(3) does. restore undoes it.
func (t *terminal) setRaw() error {
	raw := t.before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETS, &raw); err != nil {
		return fmt.Errorf("set terminal raw: %w", err)
	}
	t.raw = true
	return nil
}

// restore makes the terminal what it was; it may be called more than once, and
// on nil. A terminal that is gone needs none.
func (t *terminal) restore() {
	if t != nil && t.raw {
		unix.IoctlSetTermios(int(t.file.Fd()), unix.TCSETS, &t.before)
		t.raw = false
	}
}

// size is the terminal's in characters, or zeros when it does not know.
func (t *terminal) size() (width, height uint32) {
	s, err := unix.IoctlGetWinsize(int(t.file.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0, 0
	}
	return uint32(s.Col), uint32(s.Row)
}
