package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxConfig bounds config.json in bytes. containerd writes it from a message of at
// most 16 MiB.
const maxConfig = 16 << 20

// ErrConfig says that config.json is not the JSON object that it should be.
var ErrConfig = errors.New("malformed config.json")

// ReadConfig returns the bytes of config.json in the bundle dir, for [Group]
// and [CgroupsPath]: at most 16 MiB.
func ReadConfig(dir string) ([]byte, error) {
	b, err := read(dir, ConfigFile, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read the container's spec: %w", err)
	}
	return b, nil
}

// Group returns what the annotations of an OCI spec say about the shim that the
// container shares with others: the value of io.containerd.runc.v2.group or
// else of io.kubernetes.cri.sandbox-id. named is false when neither is there.
// An empty value is a value; containerd's own shim takes it so too.
//
// Only the way to the annotations is read, so a fault elsewhere in the document
// is not noticed: the OCI runtime, which needs the rest, will name it.
func Group(config []byte) (group string, named bool, err error) {
	annotations, err := object(config, "annotations")
	if annotations == nil || err != nil {
		return "", false, err
	}
	for _, label := range [...]string{"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"} {
		raw, err := member(annotations, label)
		if err != nil {
			return "", false, err
		}
		if s, ok := text(raw); ok {
			return s, true, nil
		}
	}
	return "", false, nil
}

// CgroupsPath returns linux.cgroupsPath of an OCI spec, or "".
func CgroupsPath(config []byte) (string, error) {
	linux, err := object(config, "linux")
	if linux == nil || err != nil {
		return "", err
	}
	raw, err := member(linux, "cgroupsPath")
	if err != nil {
		return "", err
	}
	s, _ := text(raw)
	return s, nil
}

// object returns the bytes of the member key of doc, which must be an object;
// nil when it is absent or null.
func object(doc []byte, key string) ([]byte, error) {
	raw, err := member(doc, key)
	if raw == nil || err != nil || string(raw) == "null" {
		return nil, err
	}
	if raw[0] != '{' {
		return nil, fmt.Errorf("%w: %s is not an object", ErrConfig, key)
	}
	return raw, nil
}

// text returns the string that raw, a JSON value or nil, stands for.
func text(raw []byte) (s string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' {
		return "", false
	}
	return unquote(raw)
}

// unquote returns the string that a JSON string literal with its quotes stands
// for.
func unquote(literal []byte) (s string, ok bool) {
	inner := literal[1 : len(literal)-1]
	plain := utf8.Valid(inner)
	for _, c := range inner {
		if c == '\\' || c < ' ' {
			plain = false
			break
		}
	}
	if plain {
		return string(inner), true
	}
	err := json.Unmarshal(literal, &s)
	return s, err == nil
}

// member returns the bytes of the value of the first member called key of
// the JSON object at the beginning of doc, or nil. It looks no further than
// that. A whole decoder would spend most of the time of `start` on the parts of
// a spec that nobody asked for.
func member(doc []byte, key string) ([]byte, error) {
	c := cursor{doc: doc}
	if err := c.expect('{'); err != nil {
		return nil, err
	}
	if c.next() == '}' {
		return nil, nil
	}
	for {
		name, err := c.value()
		if err != nil {
			return nil, err
		}
		if name[0] != '"' {
			return nil, c.fault("a member's name")
		}
		if err := c.expect(':'); err != nil {
			return nil, err
		}
		value, err := c.value()
		if err != nil {
			return nil, err
		}
		if s, ok := unquote(name); ok && s == key {
			return value, nil
		}
		switch c.next() {
		case ',':
			c.at++
		case '}':
			return nil, nil
		default:
			return nil, c.fault("',' or '}'")
		}
	}
}

// cursor walks over a JSON document without understanding it: it knows where
// values begin and end.
type cursor struct {
	doc []byte
	at  int
}

func (c *cursor) fault(wanted string) error {
	return fmt.Errorf("%w: no %s at byte %d", ErrConfig, wanted, c.at)
}

// next skips white space and returns the byte after it; 0 at the end.
func (c *cursor) next() byte {
	for ; c.at < len(c.doc); c.at++ {
		switch b := c.doc[c.at]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

func (c *cursor) expect(b byte) error {
	if c.next() != b {
		return c.fault("'" + string(rune(b)) + "'")
	}
	c.at++
	return nil
}

// value skips white space and one value, and returns the value's bytes: at
// least one, and with both quotes for a string.
func (c *cursor) value() ([]byte, error) {
	first := c.next()
	start := c.at
	switch first {
	case '"':
		if err := c.str(); err != nil {
			return nil, err
		}
	case '{', '[':
		// Counting is enough to find the end, and needs no stack that a deep
		// document could exhaust.
		depth := 0
		for {
			switch c.next() {
			case 0:
				return nil, c.fault("end of a value")
			case '"':
				if err := c.str(); err != nil {
					return nil, err
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			c.at++
			if depth == 0 {
				return c.doc[start:c.at], nil
			}
		}
	default:
		for c.at < len(c.doc) && scalar(c.doc[c.at]) {
			c.at++
		}
		if c.at == start {
			return nil, c.fault("value")
		}
	}
	return c.doc[start:c.at], nil
}

// str skips a string literal.
func (c *cursor) str() error {
	start := c.at
	for c.at++; c.at < len(c.doc); c.at++ {
		switch c.doc[c.at] {
		case '\\':
			c.at++
		case '"':
			c.at++
			return nil
		}
	}
	c.at = start
	return c.fault("end of the string")
}

// scalar reports whether b can be part of a number, true, false or null.
func scalar(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '+' || b == '.' || b == 'E'
}
