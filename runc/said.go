package runc

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// place is where a call runs and where its runtime logs.
type place struct {
	dir  string // working directory
	log  string // the log file; "": the runtime logs to its stderr
	from int64  // where this call's part of the log begins
	own  bool   // the log is this call's alone and is removed after it
}

// logs numbers the log files that are one call's alone.
var logs atomic.Uint64

// place finds the place for a call of v: the bundle, so that sockets and files
// can be named by short relative paths, and a log in it. When the bundle is
// gone, as it may be when a dead container is cleaned up, the runtime must work
// all the same, without a log.
func (r *Runtime) place(v verb) place {
	var st unix.Stat_t
	if r.Bundle == "" || unix.Stat(r.Bundle, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return place{dir: "/"}
	}
	p := place{dir: r.Bundle, log: r.Bundle + "/log.json"}
	if !verbs[v].serial {
		p.own = true
		p.log = r.Bundle + "/log-" + v.String() + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatUint(logs.Add(1), 10) + ".json"
	}
	if unix.Stat(p.log, &st) == nil {
		p.from = st.Size
	}
	return p
}

// leave removes what is this call's alone.
func (p *place) leave() {
	if p.own {
		_ = unix.Unlink(p.log)
	}
}

// maxLog is how much of what one call logged is looked at, from the end.
const maxLog = 4 << 20

// logged is the error that the runtime wrote to the log during this call, ""
// if there is none.
func (p *place) logged() string {
	if p.log == "" {
		return ""
	}
	f, err := os.OpenFile(p.log, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	from, size := p.from, fi.Size()
	if size < from { // somebody has cut it
		from = 0
	}
	from = max(from, size-maxLog)
	msg, err := lastError(io.NewSectionReader(f, from, size-from))
	if err != nil {
		return ""
	}
	return msg
}

// maxTail is how much of a runtime's output makes a message when it left no
// error in its log.
const maxTail = 2 << 10

// printed is what a runtime's output says about its failure. Without a log file
// the log is in the output.
func printed(out *ends) string {
	text := out.String()
	if msg, err := lastError(strings.NewReader(text)); err == nil && msg != "" {
		return msg
	}
	// A Go program that dies says why in one line, before pages of stacks.
	for line := range strings.Lines(text) {
		for _, start := range [...]string{"panic: ", "fatal error: ", "runtime: ", "runtime/cgo: "} {
			if strings.HasPrefix(line, start) {
				return strings.TrimSpace(line[:min(len(line), maxTail)])
			}
		}
	}
	text = strings.TrimSpace(text)
	if len(text) > maxTail {
		text = text[len(text)-maxTail:]
		if _, whole, ok := strings.Cut(text, "\n"); ok {
			text = whole
		}
		text = "…" + strings.ToValidUTF8(text, "")
	}
	return text
}

// firstLine is b's first line, for messages about output that nobody can read.
func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(b), []byte("\n"))
	return strings.ToValidUTF8(string(line[:min(len(line), 200)]), "\uFFFD")
}
