package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// machine is an emulated machine.
type machine struct {
	kernel, initrd string
	console        string // the file that gets what the kernel prints
	limit          time.Duration
	used           time.Duration // the processors' time that it took
}

var errLimit = errors.New("the limit has passed")

// run boots the machine and gives what its tests print to w until it powers off.
// When it returns the machine is gone, for whatever reason.
func (m *machine) run(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.limit, fmt.Errorf("%w: %v", errLimit, m.limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.args()...)
	cmd.Stdout = w
	var complaints strings.Builder
	cmd.Stderr = &complaints
	// The machine is not to outlive us; the parent that this means is the thread.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if p := cmd.ProcessState; p != nil {
		m.used = p.UserTime() + p.SystemTime()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("the machine was ended: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("qemu: %w: %s", err, strings.TrimSpace(complaints.String()))
	}
	return nil
}

func (m *machine) args() []string {
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-smp", "2", "-m", "2G",
		"-serial", "file:" + m.console, "-serial", "stdio",
		"-kernel", m.kernel, "-initrd", m.initrd,
		"-append", strings.Join(kernelArgs(), " "),
	}
	if hasKVM() {
		return append(args, "-accel", "kvm", "-cpu", "host")
	}
	// Without erms the kernel copies by words, not by bytes, of which the emulator
	// does one at a time either way; without smap it changes no flag around a copy.
	return append(args, "-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,-erms,-smap,-smep")
}

func kernelArgs() []string {
	return []string{
		"console=ttyS0", "quiet",
		"panic=-1",       // a panic is a reboot, which ends qemu
		"no_timer_check", // it counts ticks while it spins, and a busy host gives it few
		// The rest is for an emulated processor, on which some things are dear that
		// are cheap on a real one. It would read the time from a device of the board,
		// where Go asks for it all the time.
		"tsc=reliable", "clocksource=tsc",
		// Page tables changed with each system call, memory cleared twice, and programs
		// at another address each time, whose code is translated each time.
		"mitigations=off", "init_on_alloc=0", "randomize_kstack_offset=off", "hardened_usercopy=off", "norandmaps",
		// What waits for all processors to have passed a certain point.
		"rcupdate.rcu_expedited=1",
	}
}

// hasKVM says whether the processor can run a machine. The device alone does not
// say it: virtual machines have been seen that have it on processors without.
func hasKVM() bool {
	if unix.Access("/dev/kvm", unix.R_OK|unix.W_OK) != nil {
		return false
	}
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if name, flags, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "flags" {
			for flag := range strings.FieldsSeq(flags) {
				if flag == "vmx" || flag == "svm" {
					return true
				}
			}
			return false
		}
	}
	return false
}

// lastWords prints the end of what the kernel printed.
func (m *machine) lastWords(w io.Writer) {
	const tail = 4 << 10
	b, err := os.ReadFile(m.console)
	if err != nil {
		return
	}
	if len(b) > tail {
		b = b[len(b)-tail:]
	}
	fmt.Fprintf(w, "the kernel's last words:\n%s\n", strings.ToValidUTF8(strings.ReplaceAll(string(b), "\r", ""), "?"))
}
