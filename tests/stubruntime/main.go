package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const configName = "stubruntime.json"

// orphanVar tells a child that it is the orphan.
const orphanVar = "STUBRUNTIME_ORPHAN"

type config struct {
	Runtime string           `json:"runtime"`
	Calls   string           `json:"calls"`
	Drop    []string         `json:"drop"`
	Verbs   map[string]fault `json:"verbs"`

	path string // where it was read from, "" if nowhere
}

type fault struct {
	Times  int    `json:"times"`
	After  bool   `json:"after"`
	Mark   string `json:"mark"`
	Delay  string `json:"delay"`
	Until  string `json:"until"`
	Stdout string `json:"stdout"`
	Stderr string `json:"stderr"`
	Spew   int64  `json:"spew"`
	Log    string `json:"log"`
	Error  string `json:"error"`
	Orphan string `json:"orphan"`
	Hang   bool   `json:"hang"`
	Signal int    `json:"signal"`
	Exit   *int   `json:"exit"`
}

// record is a line of the calls file.
type record struct {
	Verb string   `json:"verb"`
	Args []string `json:"args"`
	Dir  string   `json:"dir"`
	Env  []string `json:"env"`
	Pid  int      `json:"pid"`
}

func main() {
	if os.Getenv(orphanVar) != "" {
		time.Sleep(10 * time.Minute)
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "stubruntime:", err)
		os.Exit(125)
	}
}

func run() error {
	c, err := load()
	if err != nil {
		return err
	}
	verb, log := parse(os.Args[1:])
	if err := c.record(verb); err != nil {
		return err
	}
	f, ok := c.Verbs[verb]
	if !ok {
		f, ok = c.Verbs["*"]
	}
	if ok && f.Times > 0 {
		n, err := c.count(verb)
		if err != nil {
			return err
		}
		ok = n <= f.Times
	}
	if !ok {
		return c.become()
	}
	code := 0
	if f.After {
		if code, err = c.child(); err != nil {
			return err
		}
	}
	f.expand(os.Args[len(os.Args)-1])
	if err := f.commit(log); err != nil {
		return err
	}
	switch {
	case f.Exit != nil:
		os.Exit(*f.Exit)
	case f.After:
		os.Exit(code)
	}
	return c.become()
}

// load reads the configuration.
func load() (*config, error) {
	c := &config{Runtime: "runc"}
	places := []string{configName}
	if self, err := os.Executable(); err == nil {
		places = append(places, filepath.Join(filepath.Dir(self), configName))
	}
	if p := os.Getenv("STUBRUNTIME_CONFIG"); p != "" {
		places = []string{p}
	}
	for _, p := range places {
		b, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.path = p
		if err := json.Unmarshal(b, c); err != nil {
			return nil, fmt.Errorf("%s: %w", p, err)
		}
		return c, nil
	}
	return c, nil
}

// parse finds the verb and the log file on a runtime's command line.
func parse(args []string) (verb, log string) {
	for i := 0; i < len(args); i++ {
		flag, value, ok := strings.Cut(args[i], "=")
		switch flag {
		case "--root", "--log", "--log-format":
			if !ok && i+1 < len(args) {
				i++
				value = args[i]
			}
			if flag == "--log" {
				log = value
			}
		default:
			if !strings.HasPrefix(flag, "-") {
				return args[i], log
			}
		}
	}
	return "", log
}

func (c *config) record(verb string) error {
	if c.Calls == "" {
		return nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{verb, os.Args, dir, os.Environ(), os.Getpid()})
	if err != nil {
		return err
	}
	return appendTo(c.Calls, string(b)+"\n")
}

// count counts this call of verb in.
func (c *config) count(verb string) (int, error) {
	f, err := os.OpenFile(c.path+"."+verb+".count", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return 0, err
	}
	if _, err := f.WriteString("."); err != nil {
		return 0, err
	}
	n, err := f.Seek(0, io.SeekEnd)
	return int(n), err
}

// become runs the real runtime in this process.
func (c *config) become() error {
	path, err := exec.LookPath(c.Runtime)
	if err != nil {
		return err
	}
	return syscall.Exec(path, append([]string{c.Runtime}, c.args()...), os.Environ())
}

// args are those of this call that the real runtime gets.
func (c *config) args() []string {
	return slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool { return slices.Contains(c.Drop, arg) })
}

// child runs the real runtime in a child and returns its exit code.
func (c *config) child() (int, error) {
	cmd := exec.Command(c.Runtime, c.args()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// expand puts the call's last argument where the texts have a place for it.
func (f *fault) expand(last string) {
	for _, s := range []*string{&f.Stdout, &f.Stderr, &f.Log, &f.Error} {
		*s = strings.ReplaceAll(*s, "{last}", last)
	}
}

// commit does what the fault says, up to how it ends.
func (f *fault) commit(log string) error {
	if f.Hang {
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	}
	if f.Mark != "" {
		if err := appendTo(f.Mark, ""); err != nil {
			return err
		}
	}
	if f.Delay != "" {
		d, err := time.ParseDuration(f.Delay)
		if err != nil {
			return err
		}
		time.Sleep(d)
	}
	if f.Until != "" {
		for _, err := os.Stat(f.Until); err != nil; _, err = os.Stat(f.Until) {
			time.Sleep(2 * time.Millisecond)
		}
	}
	fmt.Fprint(os.Stdout, f.Stdout)
	fmt.Fprint(os.Stderr, f.Stderr)
	line := []byte(strings.Repeat("x", 79) + "\n")
	for left := f.Spew; left > 0; left -= int64(len(line)) {
		if _, err := os.Stderr.Write(line[:min(left, int64(len(line)))]); err != nil {
			return err
		}
	}
	if f.Log != "" {
		if err := appendTo(log, f.Log); err != nil {
			return err
		}
	}
	if f.Error != "" {
		b, err := json.Marshal(map[string]string{"level": "error", "msg": f.Error, "time": time.Now().Format(time.RFC3339)})
		if err != nil {
			return err
		}
		if log == "" {
			fmt.Fprintf(os.Stderr, "%s\n", b)
		} else {
			if err := appendTo(log, string(b)+"\n"); err != nil {
				return err
			}
			fmt.Fprintln(os.Stderr, f.Error)
		}
	}
	if f.Orphan != "" {
		if err := leaveOrphan(f.Orphan); err != nil {
			return err
		}
	}
	if f.Hang {
		for {
			time.Sleep(time.Hour)
		}
	}
	if f.Signal != 0 {
		// In a shell, because a Go program catches some of them.
		return syscall.Exec("/bin/sh", []string{"sh", "-c", "kill -" + strconv.Itoa(f.Signal) + " $$"}, os.Environ())
	}
	return nil
}

func leaveOrphan(pidFile string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), orphanVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	// Whole at once: a test that waits for the file reads a pid.
	tmp := pidFile + ".tmp"
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(cmd.Process.Pid)), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, pidFile)
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
