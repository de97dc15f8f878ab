package stdio

import (
	"bytes"
	"os"
	"strconv"
)

// pfExiting is PF_EXITING of the kernel's task flags: set before a process
// that ends lets go of its descriptors.
const pfExiting = 0x4

// exiting reports whether the process is about to end, or has ended. A process
// that closes a descriptor by ending is seen to do so, though its end may not
// be known yet.
func exiting(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true // ENOENT, or ESRCH: it was reaped meanwhile
	}
	return statExiting(stat)
}

// statExiting reads /proc/PID/stat, see proc_pid_stat(5). What it cannot read
// is no process that ends.
func statExiting(stat []byte) bool {
	// The name, in parentheses, may hold anything.
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return false
	}
	const state, flags = 0, 6
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= flags {
		return false
	}
	if s := fields[state]; len(s) == 1 && (s[0] == 'Z' || s[0] == 'X' || s[0] == 'x') {
		return true
	}
	n, err := strconv.ParseUint(string(fields[flags]), 10, 64)
	return err == nil && n&pfExiting != 0
}
