package runc

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// maxMessage is how much of one message is kept, half of it from each end:
// the beginning says what was tried, the end why it failed.
const maxMessage = 16 << 10

// lastError reads a runtime's JSON log, one object a line, and returns the msg
// of the last line whose level is error, fatal or panic, without the white
// space around it; "" if there is none. What is not such an object is passed
// over. It needs the same little memory for any input; the error is r's.
func lastError(r io.Reader) (string, error) {
	s := logScanner{br: bufio.NewReaderSize(r, 4<<10)}
	var last string
	for {
		e, ok, err := s.line()
		if ok && e.bad() {
			last = strings.TrimSpace(e.msg.String())
		}
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return last, err
		}
	}
}

// logEntry is a line of the log.
type logEntry struct {
	level, msg ends
}

func (e *logEntry) bad() bool {
	switch string(e.level.head) {
	case "error", "fatal", "panic":
		return true
	}
	return false
}

// errLineEnd says that a line ended before its object did.
var errLineEnd = errors.New("end of line")

// logScanner reads JSON objects one line at a time without ever holding a line.
// It takes some things for JSON that are not, and nothing that is for something
// else.
type logScanner struct {
	br *bufio.Reader
}

// line reads one line. ok says that it was a whole object.
func (s *logScanner) line() (e logEntry, ok bool, err error) {
	e.level = ends{headMax: 16}
	e.msg = ends{headMax: maxMessage / 2, tailMax: maxMessage / 2}
	ok, err = s.object(&e)
	if err == errLineEnd {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	// Whatever follows the object, or is no object, up to the end of the line.
	for {
		c, err := s.br.ReadByte()
		if err != nil {
			return e, ok, err
		}
		switch c {
		case '\n':
			return e, ok, nil
		case ' ', '\t', '\r':
		default:
			ok = false
		}
	}
}

// object reads an object into e; ok is false where it meets something else.
func (s *logScanner) object(e *logEntry) (ok bool, err error) {
	c, err := s.next()
	if err != nil || c != '{' {
		return false, err
	}
	c, err = s.next()
	if err != nil || c == '}' {
		return c == '}', err
	}
	for {
		if c != '"' {
			return false, nil
		}
		key := ends{headMax: 8}
		if err := s.text(&key); err != nil {
			return false, err
		}
		c, err = s.next()
		if err != nil || c != ':' {
			return false, err
		}
		var into *ends
		if !key.cut() {
			switch string(key.head) {
			case "level":
				into = &e.level
			case "msg":
				into = &e.msg
			}
		}
		if into != nil { // the last of several counts
			*into = ends{headMax: into.headMax, tailMax: into.tailMax}
		}
		c, err = s.next()
		if err != nil {
			return false, err
		}
		if c == '"' {
			if err := s.text(into); err != nil {
				return false, err
			}
			c, err = s.next()
		} else {
			c, err = s.skip(c)
		}
		if err != nil || c == '}' {
			return c == '}', err
		}
		if c != ',' {
			return false, nil
		}
		if c, err = s.next(); err != nil {
			return false, err
		}
	}
}

// next is the next byte that is no blank.
func (s *logScanner) next() (byte, error) {
	for {
		c, err := s.br.ReadByte()
		if err != nil {
			return 0, err
		}
		switch c {
		case ' ', '\t', '\r':
		case '\n':
			return 0, errLineEnd
		default:
			return c, nil
		}
	}
}

// skip passes over a value that begins with c and is no string, and returns
// the ',' or '}' behind it.
func (s *logScanner) skip(c byte) (byte, error) {
	for depth := 0; ; {
		var err error
		switch c {
		case '{', '[':
			depth++
		case ']', '}':
			if depth == 0 {
				return c, nil
			}
			depth--
		case ',':
			if depth == 0 {
				return c, nil
			}
		case '"':
			err = s.text(nil)
		}
		if err == nil {
			c, err = s.next()
		}
		if err != nil {
			return 0, err
		}
	}
}

// text reads the rest of a string, after its opening quote, into e, which may
// be nil.
func (s *logScanner) text(e *ends) error {
	var buf [utf8.UTFMax]byte
	for {
		c, err := s.br.ReadByte()
		if err != nil {
			return err
		}
		out := buf[:1]
		switch c {
		case '"':
			return nil
		case '\n':
			return errLineEnd
		case '\\':
			r, err := s.escaped()
			if err != nil {
				return err
			}
			out = utf8.AppendRune(buf[:0], r)
		default:
			out[0] = c
		}
		if e != nil {
			_, _ = e.Write(out)
		}
	}
}

// escaped reads the rest of an escape, after its backslash.
func (s *logScanner) escaped() (rune, error) {
	c, err := s.br.ReadByte()
	if err != nil {
		return 0, err
	}
	switch c {
	case '\n':
		return 0, errLineEnd
	case 'b':
		return '\b', nil
	case 'f':
		return '\f', nil
	case 'n':
		return '\n', nil
	case 'r':
		return '\r', nil
	case 't':
		return '\t', nil
	case 'u':
		r, err := s.unit()
		if err != nil || !utf16.IsSurrogate(r) {
			return r, err
		}
		// The other half of a pair, if it is there. It is only consumed then.
		if next, err := s.br.Peek(6); err == nil && next[0] == '\\' && next[1] == 'u' {
			if r := utf16.DecodeRune(r, hex4(next[2:])); r != utf8.RuneError {
				_, err = s.br.Discard(6)
				return r, err
			}
		}
		return utf8.RuneError, nil
	}
	return rune(c), nil
}

// unit reads the four digits of a \u escape. Where they are not all digits it
// consumes none of what is there.
func (s *logScanner) unit() (rune, error) {
	digits, err := s.br.Peek(4)
	if err != nil {
		return utf8.RuneError, nil // too short: whoever reads on finds the end
	}
	r := hex4(digits)
	if r == utf8.RuneError {
		return r, nil
	}
	_, err = s.br.Discard(4)
	return r, err
}

// hex4 is the number of four hexadecimal digits, utf8.RuneError if they are not.
func hex4(digits []byte) rune {
	var r rune
	for _, c := range digits[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return utf8.RuneError
		}
		r = r<<4 | rune(c)
	}
	return r
}
