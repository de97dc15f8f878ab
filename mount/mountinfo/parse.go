package mountinfo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Parse reads the table from r to its end and returns the entries that keep
// says to keep, all of them if keep is nil, in the table's order: a mount comes
// after the mounts that were there before it. Lines may be of any length (an
// overlay's options can be longer than a page).
//
// An error names the line; what was read before it is returned too.
func Parse(r io.Reader, keep func(*Entry) bool) ([]Entry, error) {
	var entries []Entry
	var long []byte
	br := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := br.ReadSlice('\n')
		long = long[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, line...)
			line, err = br.ReadSlice('\n')
		}
		if len(long) > 0 {
			long = append(long, line...)
			line = long
		}
		if err != nil && err != io.EOF {
			return entries, fmt.Errorf("read mountinfo line %d: %w", n, err)
		}
		if line = bytes.TrimSuffix(line, []byte{'\n'}); len(line) > 0 {
			e, perr := parseEntry(line)
			if perr != nil {
				return entries, fmt.Errorf("parse mountinfo line %d: %w", n, perr)
			}
			if keep == nil || keep(&e) {
				entries = append(entries, e)
			}
		}
		if err == io.EOF {
			return entries, nil
		}
	}
}
