package usage

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memory is what a process takes, in bytes.
type Memory struct {
	Anonymous int64 // what it adds to a node: pages that are no file's
	RSS       int64 // with the pages of files, which processes share
	PSS       int64 // with its part of those
}

// CPU is what a process has had of the processors.
type CPU struct {
	Own    time.Duration // of the process alone, user's and system's
	Reaped time.Duration // of the children that it has waited for
}

// Process is what one process holds at one moment.
type Process struct {
	Memory
	CPU
	Threads int
	Files   int // open descriptors
}

// ErrFormat says that a file of /proc does not hold what it should.
var ErrFormat = errors.New("not what procfs writes")

// Of returns what a process holds. The error is [io/fs.ErrNotExist] or ESRCH when
// there is none.
func Of(pid int) (Process, error) {
	var p Process
	dir := "/proc/" + strconv.Itoa(pid)
	rollup, err := os.ReadFile(dir + "/smaps_rollup")
	if err != nil {
		return p, err
	}
	if p.Memory, err = parseRollup(bytes.NewReader(rollup)); err != nil {
		return p, err
	}
	stat, err := statOf(pid)
	if err != nil {
		return p, err
	}
	p.CPU, p.Threads = stat.CPU, stat.threads
	fds, err := os.ReadDir(dir + "/fd")
	p.Files = len(fds)
	return p, err
}

// CPUOf returns what a process has had of the processors, and nothing that takes
// longer to find out.
func CPUOf(pid int) (CPU, error) {
	s, err := statOf(pid)
	return s.CPU, err
}

// parseRollup reads /proc/PID/smaps_rollup (proc_pid_smaps(5)).
func parseRollup(r io.Reader) (Memory, error) {
	var m Memory
	wanted := map[string]*int64{"Anonymous": &m.Anonymous, "Rss": &m.RSS, "Pss": &m.PSS}
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		name, rest, ok := strings.Cut(sc.Text(), ":")
		to := wanted[name]
		if !ok || to == nil {
			continue
		}
		number, ok := strings.CutSuffix(strings.TrimSpace(rest), " kB")
		kib, err := strconv.ParseUint(strings.TrimSpace(number), 10, 53)
		if !ok || err != nil {
			return Memory{}, fmt.Errorf("smaps_rollup: %w: %q", ErrFormat, sc.Text())
		}
		*to = int64(kib) * 1024
		delete(wanted, name)
	}
	if err := sc.Err(); err != nil {
		return Memory{}, fmt.Errorf("smaps_rollup: %w", err)
	}
	for name := range wanted {
		return Memory{}, fmt.Errorf("smaps_rollup: %w: no %s", ErrFormat, name)
	}
	return m, nil
}

// userHz is the unit of times in /proc/PID/stat; it is the same on all Linux
// architectures that Go knows.
const userHz = 100

// stat is what is wanted of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	CPU
	threads int
}

func statOf(pid int) (stat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

// parseStat reads the fields behind the name, which may hold spaces and
// parentheses itself: 14 and 15 are the times, 16 and 17 those of the children, 20
// the threads.
func parseStat(b []byte) (stat, error) {
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	const first = 3 // the number of fields[0]
	if end < 0 || len(fields) <= 20-first {
		return stat{}, fmt.Errorf("stat: %w: %q", ErrFormat, b)
	}
	var ticks [4]time.Duration // of user's and system's time, then of the children's
	var errs []error
	for i := range ticks {
		n, err := strconv.ParseUint(fields[14-first+i], 10, 40)
		ticks[i] = time.Duration(n) * (time.Second / userHz)
		errs = append(errs, err)
	}
	threads, err := strconv.Atoi(fields[20-first])
	if err := errors.Join(append(errs, err)...); err != nil {
		return stat{}, fmt.Errorf("stat: %w: %w", ErrFormat, err)
	}
	return stat{CPU: CPU{Own: ticks[0] + ticks[1], Reaped: ticks[2] + ticks[3]}, threads: threads}, nil
}
