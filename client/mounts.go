package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// MountsUnder lists the mount points at dir and below it, oldest first; one that
// is mounted over several times is listed as often. dir must be absolute and
// free of links, as the kernel writes paths.
func MountsUnder(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	points, err := mountPoints(f)
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	var under []string
	for _, p := range points {
		if p == dir || strings.HasPrefix(p, dir+"/") {
			under = append(under, p)
		}
	}
	return under, nil
}

// UnmountAll undoes every mount at dir and below it, newest first. A busy one is
// detached: it ends with its last user. None is no error.
func UnmountAll(dir string) error {
	points, err := MountsUnder(dir)
	if err != nil {
		return err
	}
	for i := len(points) - 1; i >= 0; i-- {
		err := unix.Unmount(points[i], unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(points[i], unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		// EINVAL: no longer a mount point, so somebody else undid it meanwhile.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", points[i], err)
		}
	}
	return nil
}

// mountPoints reads the fifth field of each line in the format of
// /proc/self/mountinfo (proc_pid_mountinfo(5)).
func mountPoints(r io.Reader) ([]string, error) {
	var points []string
	sc := bufio.NewScanner(r)
	// An overlay of many layers has its options in the line: up to a page of
	// them, each byte of which may be escaped to four.
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		fields := strings.SplitN(sc.Text(), " ", 6)
		if len(fields) < 6 {
			return nil, fmt.Errorf("short line %q", sc.Text())
		}
		points = append(points, unescapeOctal(fields[4]))
	}
	return points, sc.Err()
}

// unescapeOctal undoes the kernel's mangling of space, tab, newline and
// backslash to a backslash and three octal digits.
func unescapeOctal(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }
