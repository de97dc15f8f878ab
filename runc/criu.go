package runc

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// criu's logs: the names that runtimes give them, in the work path.
const (
	dumpLog    = "dump.log"
	restoreLog = "restore.log"
)

// criuLog is the log of a run of criu. A runtime that fails says little more than
// that criu did; why is in there.
type criuLog struct {
	path   string
	before os.FileInfo // of an earlier run; nil if there was none
}

// log is where criu will write its log of this name.
func (o *CheckpointOpts) log(name string) criuLog {
	dir := o.WorkPath
	if dir == "" {
		dir = o.ImagePath
	}
	l := criuLog{path: filepath.Join(dir, name)}
	l.before, _ = os.Lstat(l.path)
	return l
}

// explain adds to the failure of a runtime what criu logged, if it ran at all.
func (l *criuLog) explain(err error) error {
	var failed *Error
	if !errors.As(err, &failed) {
		return err
	}
	f, openErr := os.OpenFile(l.path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if openErr != nil {
		return err
	}
	defer f.Close()
	now, statErr := f.Stat()
	if statErr != nil || !now.Mode().IsRegular() {
		return err
	}
	if l.before != nil && os.SameFile(l.before, now) && l.before.ModTime().Equal(now.ModTime()) {
		return err // an earlier run's
	}
	size := now.Size()
	from := max(0, size-maxLog)
	// What was read is good also where the rest cannot be.
	words, _ := criuErrors(io.NewSectionReader(f, from, size-from))
	failed.Log = l.path
	failed.Message, _, _ = strings.Cut(failed.Message, "\nlog file: ") // runc's own way to name it
	if len(words) > 0 {
		failed.Message += ": " + strings.Join(words, "; ")
	}
	return err
}

// At most so many of criu's errors are told, of so many bytes each.
const (
	maxCriuErrors = 4
	maxCriuError  = 512
)

// criuErrors reads a log of criu's and returns the first of its errors, which are
// nearest to the cause, without the times and places in its source. The error is
// r's.
func criuErrors(r io.Reader) ([]string, error) {
	br := bufio.NewReaderSize(r, 4<<10)
	var found []string
	for len(found) < maxCriuErrors {
		line, err := br.ReadSlice('\n')
		whole := err == nil
		text := criuError(string(line))
		if text == "Dumping FAILED." || text == "Restoring FAILED." {
			return found, nil // what follows comes of that
		}
		if text != "" && !slices.Contains(found, text) {
			found = append(found, text)
		}
		for err == bufio.ErrBufferFull { // the rest of a line that nobody reads
			_, err = br.ReadSlice('\n')
			whole = err == nil
		}
		if err == io.EOF {
			return found, nil
		}
		if !whole {
			return found, err
		}
	}
	return found, nil
}

// criuError is the text of a line like
//
//	(00.123456)      1: Error (criu/sk-inet.c:191): inet: Connected TCP socket
//	(00.070875) pie: 1: Error (criu/pie/restorer.c:1907): Can't read pages data (-9)
//
// of which the second is from criu's code within the process that it restores, and
// "" for other lines, and for an error that is none: criu may not be allowed to
// raise the limits of its own files, and does without.
func criuError(line string) string {
	const mark = "Error ("
	if !strings.HasPrefix(line, "(") {
		return ""
	}
	at := strings.Index(line, mark)
	if at < 0 {
		return ""
	}
	if who := strings.Trim(line[:at], " ().:0123456789"); who != "" && who != "pie" {
		return ""
	}
	_, text, ok := strings.Cut(line[at+len(mark):], "): ")
	if !ok {
		return ""
	}
	text = strings.TrimSpace(strings.ToValidUTF8(text, "\uFFFD"))
	if strings.HasPrefix(text, "rlimit: Can't setup RLIMIT_NOFILE for self") {
		return ""
	}
	if len(text) > maxCriuError {
		text = strings.ToValidUTF8(text[:maxCriuError], "") + "…"
	}
	return text
}
