package runc

import "strings"

// ends keeps the first and the last bytes of what is written to it and counts
// the rest, so that output of any length costs a bounded amount of memory.
type ends struct {
	headMax, tailMax int

	head  []byte
	tail  []byte // the last bytes after head; at most twice tailMax of them
	total int64
}

func (e *ends) Write(p []byte) (int, error) {
	n := len(p)
	e.total += int64(n)
	if room := e.headMax - len(e.head); room > 0 {
		k := min(room, len(p))
		e.head = append(e.head, p[:k]...)
		p = p[k:]
	}
	if len(p) > e.tailMax {
		p = p[len(p)-e.tailMax:]
		e.tail = e.tail[:0]
	}
	if len(e.tail)+len(p) > 2*e.tailMax {
		e.tail = append(e.tail[:0], e.tail[len(e.tail)-e.tailMax:]...)
	}
	e.tail = append(e.tail, p...)
	return n, nil
}

// cut reports whether something between the ends was dropped.
func (e *ends) cut() bool { return e.total > int64(len(e.head)+len(e.last())) }

func (e *ends) last() []byte { return e.tail[max(0, len(e.tail)-e.tailMax):] }

// String is what was written, with "…" where something is missing. It is valid
// UTF-8: it goes into messages that must be.
func (e *ends) String() string {
	var s strings.Builder
	s.Write(e.head)
	if e.cut() {
		s.WriteString("…")
	}
	s.Write(e.last())
	return strings.ToValidUTF8(s.String(), "\uFFFD")
}
