package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-shim/holdfast/client"
)

// runOptions are the flags of `holdfast run`.
type runOptions struct {
	Args     []string // the command and its arguments; may be empty with Bundle
	Root     string
	Rootfs   string
	Bundle   string
	ID       string
	Runtime  string
	Shim     string
	Dialect  client.Dialect
	Env      []string
	Cwd      string
	User     string
	Input    bool
	Terminal bool
	ReadOnly bool
	Events   bool
	Debug    bool
	Memory   int64   // bytes; 0 is no limit
	CPUs     float64 // 0 is no limit
	Pids     int64   // 0 is no limit
}

const (
	rootEnv     = "HOLDFAST_ROOT"
	defaultRoot = "/run/holdfast"
	shimName    = "containerd-shim-holdfast-v2"
)

// errHelp says that help was asked for, not a run.
var errHelp = errors.New("help")

// runFlagSet binds flags to o. Its own error output is thrown away: errors are
// told in one line by the caller.
func runFlagSet(o *runOptions) *flag.FlagSet {
	f := flag.NewFlagSet("run", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	root := os.Getenv(rootEnv)
	if root == "" {
		root = defaultRoot
	}
	f.StringVar(&o.Root, "root", root, "keep the container's state under `DIR`; $"+rootEnv+" sets it too")
	f.StringVar(&o.Rootfs, "rootfs", "", "run on `DIR` as root file system, mounted as it is: the container writes to it; without it, on a new one made of busybox")
	f.StringVar(&o.Bundle, "bundle", "", "take config.json, and the root file system it names, from the OCI bundle `DIR`")
	f.StringVar(&o.ID, "id", "", "call the container `ID`")
	f.StringVar(&o.Runtime, "runtime", "", "use the OCI runtime `NAME`, found in $PATH, instead of the shim's default")
	f.StringVar(&o.Shim, "shim", "", "use the shim at `PATH`; without it, "+shimName+" beside this tool or in $PATH")
	f.Func("dialect", "speak to the shim's start as containerd `N` does: 1 is 1.6, 2 is 1.7 to 2.2, 3 is newer (default 3)", func(s string) error {
		n, err := strconv.Atoi(s)
		if err != nil || n < int(client.DialectAddress) || n > int(client.DialectBootstrap) {
			return errors.New("must be 1, 2 or 3")
		}
		o.Dialect = client.Dialect(n)
		return nil
	})
	f.Func("env", "set `K=V` in the environment, or take K from here; may be repeated", func(s string) error {
		k, _, isSet := strings.Cut(s, "=")
		if k == "" {
			return errors.New("has no name")
		}
		if !isSet {
			v, ok := os.LookupEnv(k)
			if !ok {
				return nil
			}
			s = k + "=" + v
		}
		o.Env = append(o.Env, s)
		return nil
	})
	f.StringVar(&o.Cwd, "cwd", "", "run in the container's `DIR`")
	f.StringVar(&o.User, "user", "", "run as `USER[:GROUP]`, numbers or names of the container's")
	f.BoolVar(&o.Input, "i", false, "pass standard input on")
	f.BoolVar(&o.Terminal, "t", false, "give the container a terminal")
	f.BoolFunc("it", "both", func(s string) error {
		on, err := strconv.ParseBool(s)
		o.Input, o.Terminal = on, on
		return err
	})
	f.BoolVar(&o.ReadOnly, "read-only", false, "make the root file system read-only to the container")
	f.BoolVar(&o.Events, "events", false, "print events on standard error as they come")
	f.BoolVar(&o.Debug, "debug", false, "print the shim's log on standard error")
	f.Func("memory", "limit memory to `SIZE` bytes; k, m, g multiply by 1024", func(s string) (err error) {
		o.Memory, err = parseSize(s)
		return err
	})
	f.Func("cpus", "limit CPU time to that of `N` CPUs", func(s string) (err error) {
		o.CPUs, err = strconv.ParseFloat(s, 64)
		if err != nil || !(o.CPUs >= minCPUs && o.CPUs <= maxCPUs) {
			return fmt.Errorf("must be a number from %v to %v", minCPUs, maxCPUs)
		}
		return nil
	})
	f.Func("pids", "limit processes and threads to `N`", func(s string) (err error) {
		o.Pids, err = strconv.ParseInt(s, 10, 64)
		if err != nil || o.Pids < 1 {
			return errors.New("must be a number of at least 1")
		}
		return nil
	})
	return f
}

// The kernel takes no quota below a millisecond of each period of a tenth of a second.
const (
	cpuPeriod = 100_000 // microseconds
	minCPUs   = 0.01
	maxCPUs   = 10_000
)

// parseRun reads the arguments of `holdfast run`. Its error is one line.
func parseRun(args []string) (*runOptions, error) {
	o := &runOptions{Dialect: client.DialectBootstrap}
	f := runFlagSet(o)
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil, errHelp
	} else if err != nil {
		return nil, err
	}
	o.Args = f.Args()
	if len(o.Args) == 0 && o.Bundle == "" {
		return nil, errors.New("no command: holdfast run [FLAGS] -- COMMAND [ARGUMENTS]")
	}
	if o.ID == "" {
		o.ID = newID()
	}
	if !validID(o.ID) {
		return nil, fmt.Errorf("id %q: must be letters and digits, with single dots, dashes or underscores between them, and at most %d long", o.ID, maxID)
	}
	if o.Cwd != "" && !filepath.IsAbs(o.Cwd) {
		return nil, fmt.Errorf("cwd %q: must be absolute", o.Cwd)
	}
	for _, d := range []struct {
		what  string
		path  *string
		there bool // whether it must be
	}{{"root", &o.Root, false}, {"rootfs", &o.Rootfs, true}, {"bundle", &o.Bundle, true}} {
		if *d.path == "" {
			continue
		}
		abs, err := filepath.Abs(*d.path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.what, err)
		}
		*d.path = abs
		if !d.there {
			continue
		}
		if st, err := os.Stat(abs); err != nil {
			return nil, fmt.Errorf("%s: %w", d.what, err)
		} else if !st.IsDir() {
			return nil, fmt.Errorf("%s: %s is not a directory", d.what, abs)
		}
	}
	var err error
	if o.Shim, err = findShim(o.Shim); err != nil {
		return nil, err
	}
	return o, nil
}

// findShim returns the absolute path of the shim named, or of the tool's own.
func findShim(given string) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("shim: %w", err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), shimName)
		if path, err := exec.LookPath(beside); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath(shimName)
	if err != nil {
		return "", fmt.Errorf("no %s beside this tool or in $PATH: --shim tells where it is", shimName)
	}
	return filepath.Abs(path)
}

// parseSize reads a number of bytes with a suffix of k, m or g, of either case.
func parseSize(s string) (int64, error) {
	number, shift := s, 0
	if len(s) > 0 {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
	}
	if shift > 0 {
		number = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>shift {
		return 0, errors.New("must be a number of bytes like 67108864 or 64m")
	}
	return n << shift, nil
}

// maxID is containerd's limit, which leaves room for what ids become part of.
const maxID = 76

// validID takes what containerd takes for an identifier.
func validID(id string) bool {
	if len(id) == 0 || len(id) > maxID {
		return false
	}
	afterMark := true // neither first, nor last, nor two in a row
	for _, c := range []byte(id) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			afterMark = false
		case c == '.' || c == '-' || c == '_':
			if afterMark {
				return false
			}
			afterMark = true
		default:
			return false
		}
	}
	return !afterMark
}

func newID() string {
	var b [6]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// runNotes are what the flags do not tell.
const runNotes = `The exit code is the container's, or 128 and the number of the signal that ended
it; 127 when the command is not there, 126 when it cannot be run, and 125 for any
other trouble. SIGINT and SIGTERM are passed on; a second one kills.
The container has a network of its own with nothing in it.
`
