package mountinfo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// Entry is one mount, one line of the table.
type Entry struct {
	ID     int // the mount's id, unique among the mounts that exist now
	Parent int // the id of the mount this one sits on

	// Root is the directory of the filesystem that is seen at Point. A directory
	// that was removed since keeps the kernel's mark, "//deleted", at its end.
	Root string
	// Point is where it is mounted, below the reading process' root directory.
	Point string
	// Deleted says that the directory at Point is gone (the kernel's mark
	// "//deleted" is cut off from Point): no path leads to this mount.
	Deleted bool

	// Options are the mount's own ("ro,nosuid"), Super those of its superblock.
	// Both are as the kernel wrote them, with its octal escapes in their values.
	Options string
	Super   string

	Shared int    // the peer group this mount propagates to; 0 when it is not shared
	FSType string // "overlay", "cgroup2", "fuse.sshfs"
	Source string // a device, or what the one who mounted it said; may be empty
}

// errFields is what a line lacks that is no line of mountinfo.
var errFields = errors.New("too few fields")

// line is an entry's fields as they stand in the table.
type line struct {
	id, parent, root, point, options, fstype, source, super []byte

	deleted bool
	shared  int
}

// split parts one line, without its newline:
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// Fields are parted by exactly one space: the source may be empty, and then two
// spaces follow each other.
func split(text []byte) (line, error) {
	var l line
	var field []byte
	rest, ok := text, true
	for _, into := range [...]*[]byte{&l.id, &l.parent, &field /* major:minor */, &l.root, &l.point, &l.options} {
		if !ok {
			return l, errFields
		}
		*into, rest, ok = bytes.Cut(rest, []byte{' '})
	}
	for {
		if !ok {
			return l, errFields
		}
		field, rest, ok = bytes.Cut(rest, []byte{' '})
		if string(field) == "-" {
			break
		}
		if group, found := bytes.CutPrefix(field, []byte("shared:")); found {
			n, err := number(group)
			if err != nil {
				return l, fmt.Errorf("peer group: %w", err)
			}
			l.shared = n
		}
	}
	for _, into := range [...]*[]byte{&l.fstype, &l.source, &l.super} {
		if !ok {
			return l, errFields
		}
		*into, rest, ok = bytes.Cut(rest, []byte{' '})
	}
	l.point, l.deleted = bytes.CutSuffix(l.point, []byte("//deleted"))
	return l, nil
}

// entry turns the fields into what they mean.
func (l *line) entry() (Entry, error) {
	e := Entry{
		Root:    string(unescape(nil, l.root)),
		Point:   string(unescape(nil, l.point)),
		Deleted: l.deleted,
		Options: string(l.options),
		Super:   string(l.super),
		Shared:  l.shared,
		FSType:  string(unescape(nil, l.fstype)),
		Source:  string(unescape(nil, l.source)),
	}
	var err error
	if e.ID, err = number(l.id); err != nil {
		return e, fmt.Errorf("mount id: %w", err)
	}
	if e.Parent, err = number(l.parent); err != nil {
		return e, fmt.Errorf("parent id: %w", err)
	}
	return e, nil
}

func number(b []byte) (int, error) {
	return strconv.Atoi(string(b))
}

// unescape turns the kernel's octal escapes (\040 for a space, \011, \012, \043,
// \134) back. A backslash that three octal digits do not follow stands for itself.
// What it returns is b if there is nothing to do, else appended to out.
func unescape(out, b []byte) []byte {
	if bytes.IndexByte(b, '\\') < 0 {
		return b
	}
	for i := 0; i < len(b); i++ {
		if b[i] == '\\' && i+3 < len(b) && octal(b[i+1], '3') && octal(b[i+2], '7') && octal(b[i+3], '7') {
			out = append(out, (b[i+1]-'0')<<6|(b[i+2]-'0')<<3|(b[i+3]-'0'))
			i += 3
			continue
		}
		out = append(out, b[i])
	}
	return out
}

func octal(c, most byte) bool { return '0' <= c && c <= most }
