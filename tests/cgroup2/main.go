package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "cgroup2:", err)
		}
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("cgroup2", flag.ContinueOnError)
	pattern := flags.String("run", "", "run only the tests that match `REGEXP`, as go test's flag")
	verbose := flags.Bool("v", false, "print all that the tests print")
	all := flags.Bool("all", false, "run all tests of each suite, not only its core")
	limit := flags.Duration("limit", 45*time.Minute, "end the machine after this time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the machine runs this machine's programs, and is an amd64, not %s", runtime.GOARCH)
	}
	if _, err := regexp.Compile(*pattern); err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return err
	}

	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	k, err := fetchKernel(ctx)
	if err != nil {
		return fmt.Errorf("fetch the kernel: %w", err)
	}
	dir, err := os.MkdirTemp("", "holdfast-cgroup2-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	initrd := filepath.Join(dir, "initrd")
	if err := makeImage(ctx, initrd, image{root: root, kernel: k, suites: chosen, all: *all, pattern: *pattern, limit: *limit}); err != nil {
		return fmt.Errorf("make the machine's image: %w", err)
	}

	m := machine{kernel: k.image, initrd: initrd, console: filepath.Join(dir, "console"), limit: *limit}
	t := newTranscript(os.Stdout, *verbose)
	err = m.run(ctx, t)
	if err == nil {
		err = t.err(chosen)
	}
	t.summary(os.Stdout)
	fmt.Printf("%.0fs of processor time\n", m.used.Seconds())
	if err != nil {
		m.lastWords(os.Stdout)
	}
	return err
}

// moduleRoot is the directory of this module, from wherever in it the program is
// run.
func moduleRoot(ctx context.Context) (string, error) {
	out, err := output(exec.CommandContext(ctx, "go", "env", "GOMOD"))
	if err != nil {
		return "", err
	}
	file := strings.TrimSpace(out)
	if file == "" || file == os.DevNull {
		return "", errors.New("run it in Holdfast's source")
	}
	return filepath.Dir(file), nil
}

// output runs a program and returns what it printed; the error holds all of that.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}
