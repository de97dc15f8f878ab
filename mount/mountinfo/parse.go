package mountinfo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Keep says whether an entry is wanted, by where it is mounted and its filesystem's
// type. Both are good for the time of the call only. A node has thousands of mounts
// and a reader wants few of them: what is not wanted costs no memory.
type Keep func(point, fstype []byte) bool

// Parse reads the table from r to its end and returns the entries that keep says to
// keep, all of them if keep is nil, in the table's order: a mount comes after the
// mounts that were there before it. Lines may be of any length (an overlay's options
// can be longer than a page).
//
// An error names the line; what was read before it is returned too.
func Parse(r io.Reader, keep Keep) ([]Entry, error) {
	var entries []Entry
	var long []byte
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		text, err := br.ReadSlice('\n')
		long = long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, text...)
			text, err = br.ReadSlice('\n')
		}
		if len(long) > 0 {
			long = append(long, text...)
			text = long
		}
		if err != nil && err != io.EOF {
			return entries, fmt.Errorf("read mountinfo line %d: %w", n, err)
		}
		if text = bytes.TrimSuffix(text, []byte{'\n'}); len(text) > 0 {
			l, perr := split(text)
			if perr == nil && (keep == nil || keep(unescape(nil, l.point), l.fstype)) {
				var e Entry
				if e, perr = l.entry(); perr == nil {
					entries = append(entries, e)
				}
			}
			if perr != nil {
				return entries, fmt.Errorf("parse mountinfo line %d: %w", n, perr)
			}
		}
		if err == io.EOF {
			return entries, nil
		}
	}
}
