package main

import (
	"context"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// Where things are in the machine, beside what client.MakeRootfs makes.
const (
	builtDir  = "/built"  // the module's commands
	sourceDir = "/source" // the packages' directories: a test binary and testdata
)

// The machine's two scripts: first is what the kernel runs, on the initramfs, and
// second is its process 1 from then on.
var (
	//go:embed guest/first.sh
	first []byte
	//go:embed guest/second.sh
	second []byte
)

// image says what a machine is made of.
type image struct {
	root    string // the module's directory
	kernel  *kernel
	suites  []suite
	all     bool          // all tests of a suite, not only its core
	pattern string        // which tests, as go test's -run; instead of the core
	limit   time.Duration // when a suite is given up
}

// hostPrograms are those that busybox does not have or has with less: the runtimes,
// and what tests run.
func hostPrograms() []string { return []string{"runc", "crun", "find", "unshare"} }

// makeImage writes the initramfs. It is not compressed: qemu puts it into memory
// faster than an emulated processor unpacks it.
func makeImage(ctx context.Context, file string, i image) error {
	tree := file + ".tree"
	defer os.RemoveAll(tree)
	if err := client.MakeRootfs(tree); err != nil {
		return err
	}
	for _, dir := range []string{builtDir, sourceDir, "/modules"} {
		if err := os.Mkdir(filepath.Join(tree, dir), 0o755); err != nil {
			return err
		}
	}
	for _, name := range hostPrograms() {
		if err := addProgram(ctx, tree, name); err != nil {
			return err
		}
	}
	if err := addBuilt(ctx, tree, i.root); err != nil {
		return err
	}
	for _, s := range i.suites {
		if err := addPackage(ctx, tree, i.root, s.pkg); err != nil {
			return err
		}
	}
	for n, module := range i.kernel.modules {
		// The number keeps their order.
		if err := copyFile(module, fmt.Sprintf("%s/modules/%d-%s", tree, n, filepath.Base(module)), 0o644); err != nil {
			return err
		}
	}
	script, err := suitesScript(i)
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"init": first, "second": second, "suites": script} {
		if err := os.WriteFile(filepath.Join(tree, name), text, 0o755); err != nil {
			return err
		}
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	if err := archive(f, tree); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// suitesScript calls second.sh's function suite for each of them.
func suitesScript(i image) ([]byte, error) {
	var b strings.Builder
	for _, s := range i.suites {
		dir := sourceDir + "/" + s.pkg
		args := []string{"suite", s.name, dir, "env", "HOLDFAST_BUILT=" + builtDir, "HOLDFAST_PATIENCE=5m", "HOLDFAST_RUNC_TIMEOUT=5m"}
		// How often to do what is done many times.
		for _, name := range []string{"HOLDFAST_OOMS", "HOLDFAST_STRESS"} {
			if value := os.Getenv(name); value != "" {
				args = append(args, name+"="+value)
			}
		}
		args = append(args, s.env...)
		args = append(args, dir+"/test", "-test.v", "-test.timeout="+i.limit.String())
		pattern := i.pattern
		if pattern == "" && !i.all {
			var err error
			if pattern, err = s.tests(i.root); err != nil {
				return nil, err
			}
		}
		if pattern != "" {
			args = append(args, "-test.run="+pattern)
		}
		if s.skip != "" {
			args = append(args, "-test.skip="+s.skip)
		}
		for n, arg := range args {
			if n > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(quote(arg))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String()), nil
}

// quote makes one word of a shell of text.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// addProgram adds a program of this machine and the libraries it is linked to.
func addProgram(ctx context.Context, tree, name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	at := filepath.Join(tree, "bin", name)
	// Busybox may have one of the name.
	if err := os.Remove(at); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := copyFile(path, at, 0o755); err != nil {
		return err
	}
	dynamic, err := isDynamic(path)
	if err != nil || !dynamic {
		return err
	}
	out, err := output(exec.CommandContext(ctx, "ldd", path))
	if err != nil {
		return err
	}
	for _, lib := range libraries(out) {
		at := filepath.Join(tree, lib)
		if _, err := os.Stat(at); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			return err
		}
		if err := copyFile(lib, at, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func isDynamic(path string) (bool, error) {
	f, err := elf.Open(path)
	if err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return true, nil
		}
	}
	return false, nil
}

// libraries are the files that ldd's output names: the libraries and the loader.
func libraries(ldd string) []string {
	var files []string
	for line := range strings.Lines(ldd) {
		for field := range strings.FieldsSeq(line) {
			if strings.HasPrefix(field, "/") {
				files = append(files, field)
			}
		}
	}
	return files
}

// addBuilt adds the module's commands, under the names that harness.Build and its
// like give them.
func addBuilt(ctx context.Context, tree, root string) error {
	dir := filepath.Join(tree, builtDir)
	for _, c := range []struct{ pkg, name string }{
		{"./cmd/shim", harness.ShimName}, {"./cmd/holdfast", "holdfast"}, {"./tests/stubruntime", "stubruntime"},
	} {
		if given := os.Getenv("HOLDFAST_SHIM"); given != "" && c.name == harness.ShimName {
			if err := copyFile(given, filepath.Join(dir, c.name), 0o755); err != nil {
				return err
			}
			continue
		}
		if err := build(ctx, root, "build", "-o", filepath.Join(dir, c.name), c.pkg); err != nil {
			return err
		}
	}
	return nil
}

// addPackage adds a package's test binary and testdata.
func addPackage(ctx context.Context, tree, root, pkg string) error {
	dir := filepath.Join(tree, sourceDir, pkg)
	bin := filepath.Join(dir, "test")
	if _, err := os.Stat(bin); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := build(ctx, root, "test", "-c", "-o", bin, "./"+pkg); err != nil {
		return err
	}
	data := filepath.Join(root, pkg, "testdata")
	if _, err := os.Stat(data); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(data))
}

// build runs a go command that compiles something for the machine, which has no C
// library of the host's that may not be found.
func build(ctx context.Context, root, command string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{command, "-trimpath", "-ldflags", "-s -w"}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err := output(cmd)
	return err
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}
