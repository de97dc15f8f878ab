package main

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

// memory is what a process takes, in bytes.
type memory struct{ anonymous, rss, pss float64 }

var errProc = errors.New("not what procfs writes")

// parseRollup reads /proc/PID/smaps_rollup (proc_pid_smaps(5)).
func parseRollup(r io.Reader) (memory, error) {
	var m memory
	wanted := map[string]*float64{"Anonymous": &m.anonymous, "Rss": &m.rss, "Pss": &m.pss}
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
			return memory{}, fmt.Errorf("smaps_rollup: %w: %q", errProc, sc.Text())
		}
		*to = float64(kib) * 1024
		delete(wanted, name)
	}
	if err := sc.Err(); err != nil {
		return memory{}, fmt.Errorf("smaps_rollup: %w", err)
	}
	for name := range wanted {
		return memory{}, fmt.Errorf("smaps_rollup: %w: no %s", errProc, name)
	}
	return m, nil
}

// userHz is the unit of times in /proc/PID/stat; it is the same on all Linux
// architectures that Go knows.
const userHz = 100

// procStat is what is wanted of /proc/PID/stat (proc_pid_stat(5)).
type procStat struct {
	threads int
	cpu     time.Duration // of the process alone, user's and system's
	reaped  time.Duration // of the children that it has waited for
}

// parseStat reads the fields behind the name, which may hold spaces and
// parentheses itself: 14 and 15 are the times, 16 and 17 those of the children, 20
// the threads.
func parseStat(b []byte) (procStat, error) {
	end := bytes.LastIndexByte(b, ')')
	fields := strings.Fields(string(b[end+1:]))
	const first = 3 // the number of fields[0]
	if end < 0 || len(fields) <= 20-first {
		return procStat{}, fmt.Errorf("stat: %w: %q", errProc, b)
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
		return procStat{}, fmt.Errorf("stat: %w: %w", errProc, err)
	}
	return procStat{threads: threads, cpu: ticks[0] + ticks[1], reaped: ticks[2] + ticks[3]}, nil
}

// usage is what one process holds at one moment.
type usage struct {
	memory
	procStat
	fds int
}

func usageOf(pid int) (usage, error) {
	var u usage
	dir := "/proc/" + strconv.Itoa(pid)
	rollup, err := os.ReadFile(dir + "/smaps_rollup")
	if err != nil {
		return u, err
	}
	if u.memory, err = parseRollup(bytes.NewReader(rollup)); err != nil {
		return u, err
	}
	if u.procStat, err = statOf(pid); err != nil {
		return u, err
	}
	fds, err := os.ReadDir(dir + "/fd")
	u.fds = len(fds)
	return u, err
}

func statOf(pid int) (procStat, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, err
	}
	return parseStat(b)
}
