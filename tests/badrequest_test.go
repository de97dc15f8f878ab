package tests

import (
	"cmp"
	"fmt"
	"io"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/holdfast-shim/holdfast/client"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/task"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
	"github.com/holdfast-shim/holdfast/tests/harness"
)

// badIDs are those that cannot be a file's name or an argument.
var badIDs = map[string]string{
	"empty": "", "a dot": ".", "dots": "..", "a path": "../x", "a slash": "a/b", "only slashes": "///", "a NUL": "a\x00b",
	"a newline": "a\nb", "an option": "--root=/", "too long": strings.Repeat("i", 300), "a mebibyte": strings.Repeat("i", 1<<20),
	"no text": "\xff\xfe",
}

// Every request that cannot be carried out is told so with a code and a text that
// name what is wrong, and leaves nothing.
func TestABadCreateIsNamedAndLeavesNothing(t *testing.T) {
	d := harness.New(t)
	pod := d.CreateWant(harness.Want{ID: "pod", Args: []string{"sleep", "1000"}})
	pod.Start()
	pod.ExecOutput("first", "true")
	shim := pod.HoldShim()
	files := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid()))) }
	filesBefore := files()

	// A bundle that is in order, for requests that are not.
	good := func() (string, *types.Mount) {
		t.Helper()
		spec, err := client.DefaultSpec(d.Namespace, "bad", "true").JSON()
		if err != nil {
			t.Fatal(err)
		}
		rootfs, err := d.Overlay("bad")
		if err != nil {
			t.Fatal(err)
		}
		return bundleOf(t, d, string(spec)), rootfs
	}
	bundle, overlay := good()
	for name, tt := range badCreates(t, d, bundle, overlay) {
		if tt.r.Bundle == "" && !tt.noBundle {
			tt.r.Bundle = bundle
		}
		if tt.r.Rootfs == nil {
			tt.r.Rootfs = []*types.Mount{overlay}
		}
		if tt.r.Id == "" && !tt.noID {
			tt.r.Id = "bad"
		}
		_, err := pod.Shim.Task.Create(d.Ctx(), tt.r)
		if err == nil {
			t.Errorf("%s: created", name)
			if _, err := pod.Shim.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: tt.r.Id}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if got := client.Code(err); got != tt.code || !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %.500v, want %v and %q", name, err, tt.code, tt.text)
		}
		if len(err.Error()) > 64<<10 {
			t.Errorf("%s: a text of %d bytes", name, len(err.Error()))
		}
		if mounts, err := client.MountsUnder(bundle); err != nil || len(mounts) > 0 {
			t.Errorf("%s: mounts left: %q, %v", name, mounts, err)
		}
	}
	answersEverything(t, d, pod)
	d.Eventually("the shim's files", func() error {
		if n := files(); n > filesBefore {
			return fmt.Errorf("%d files, before %d", n, filesBefore)
		}
		return nil
	})
	d.Eventually("nothing left but the pod", func() error { return onlyOf(d, "pod") })
	pod.Finish()
}

// bundleOf makes a bundle with this configuration.
func bundleOf(t *testing.T, d *harness.Daemon, config string) string {
	t.Helper()
	dir, err := os.MkdirTemp(d.Dir, "bundle")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "rootfs"), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

type badCreate struct {
	r              *task.CreateTaskRequest
	noID, noBundle bool
	code           codes.Code
	text           string
}

func badCreates(t *testing.T, d *harness.Daemon, bundle string, overlay *types.Mount) map[string]badCreate {
	t.Helper()
	all := make(map[string]badCreate)
	for name, id := range badIDs {
		if name != "no text" { // no proto3 string: the encoder of any other client refuses it
			all["id: "+name] = badCreate{&task.CreateTaskRequest{Id: id}, true, false, codes.InvalidArgument, "id"}
		}
	}
	file := filepath.Join(d.Dir, "a-file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(d.Dir, "a-loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]struct {
		path string
		code codes.Code
		text string
	}{
		"empty":            {"", codes.InvalidArgument, "not an absolute path"},
		"relative":         {"some/where", codes.InvalidArgument, "not an absolute path"},
		"missing":          {"/no/such/bundle", codes.NotFound, "/no/such/bundle"},
		"a file":           {file, codes.InvalidArgument, file},
		"a link in a loop": {loop, codes.InvalidArgument, loop},
		"with a NUL":       {"/tmp/a\x00b", codes.InvalidArgument, "bundle"},
		"a mebibyte":       {"/" + strings.Repeat("b", 1<<20), codes.InvalidArgument, "bundle"},
	} {
		all["bundle: "+name] = badCreate{&task.CreateTaskRequest{Bundle: b.path}, false, true, b.code, b.text}
	}
	for name, config := range map[string]string{
		"empty":         "",
		"cut short":     `{"ociVersion":"1.0.2","linux":{"namespaces":[`,
		"no object":     `[]`,
		"wrong types":   `{"ociVersion":7,"linux":{"namespaces":"pid","cgroupsPath":[]},"annotations":{"a":1}}`,
		"NULs":          strings.Repeat("\x00", 100),
		"nested deeply": strings.Repeat(`{"linux":`, 20000),
		"endless array": `{"linux":{"namespaces":` + strings.Repeat("[", 1<<20),
		"text after it": `{} {}`,
	} {
		all["config: "+name] = badCreate{&task.CreateTaskRequest{Bundle: bundleOf(t, d, config)}, false, false, codes.InvalidArgument, "config"}
	}
	options := (&runcopts.Options{}).TypeURL()
	for name, o := range map[string]*wkt.Any{
		"of another type":  {TypeUrl: "some/thing", Value: []byte("x")},
		"a type's garbage": {TypeUrl: strings.Repeat("\x01", 1000), Value: []byte("x")},
		"cut short":        {TypeUrl: options, Value: []byte("\x32\xff")},
		"garbage":          {TypeUrl: options, Value: []byte{0xff, 0xff}},
		"without a type":   {Value: []byte("x")},
	} {
		all["options: "+name] = badCreate{&task.CreateTaskRequest{Options: o}, false, false, codes.InvalidArgument, "options"}
	}
	for name, o := range map[string]*runcopts.Options{
		"a root with a NUL":   {Root: "/run/a\x00b"},
		"a binary with a NUL": {BinaryName: "runc\x00"},
		"a long binary":       {BinaryName: strings.Repeat("r", 1<<20)},
	} {
		value, err := o.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		all["options: "+name] = badCreate{&task.CreateTaskRequest{Options: &wkt.Any{TypeUrl: options, Value: value}}, false, false, codes.InvalidArgument, "options"}
	}
	notThere := map[string]codes.Code{
		"rootfs: a missing source": codes.NotFound, "rootfs: a target not there": codes.NotFound, "rootfs: a mebibyte": codes.NotFound,
		"stdout: missing": codes.NotFound, "stdout: no binary": codes.FailedPrecondition,
	}
	for name, m := range map[string][]*types.Mount{
		"of nothing":         {{}},
		"an unknown type":    {{Type: "nosuchfs", Source: "x"}},
		"a missing source":   {{Type: "bind", Source: "/no/such/source", Options: []string{"rbind"}}},
		"NULs":               {{Type: "bind\x00", Source: "/\x00", Target: "\x00", Options: []string{"\x00"}}},
		"a target not there": {overlay, {Type: "tmpfs", Source: "tmpfs", Target: "no/such/directory"}},
		"bad overlay":        {{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=", "nonsense=1"}}},
		"a mebibyte":         {{Type: "overlay", Source: "overlay", Options: []string{"lowerdir=" + strings.Repeat("/x:", 1<<18)}}},
	} {
		all["rootfs: "+name] = badCreate{&task.CreateTaskRequest{Rootfs: m}, false, false, codes.InvalidArgument, "mount"}
	}
	for name, p := range map[string]string{
		"a directory":     "/tmp",
		"missing":         "/no/such/fifo",
		"a NUL":           "/tmp/a\x00b",
		"unknown scheme":  "gopher://x",
		"no binary":       "binary:///no/such/logger",
		"a relative file": "file://x",
		"file with a NUL": "file:///tmp/a%00b",
		"a mebibyte":      "/" + strings.Repeat("f", 1<<20),
		"garbage":         "binary://%zz?%%%",
	} {
		all["stdout: "+name] = badCreate{&task.CreateTaskRequest{Stdout: p}, false, false, codes.InvalidArgument, "std"}
	}
	all["checkpoint: missing"] = badCreate{&task.CreateTaskRequest{Checkpoint: "/no/such/checkpoint"}, false, false, codes.InvalidArgument, "checkpoint"}
	for name, code := range notThere {
		b := all[name]
		b.code = code
		if code == codes.FailedPrecondition {
			b.text = "start /no/such/logger"
		}
		all[name] = b
	}
	return all
}

func TestABadExecIsNamedAndLeavesNothing(t *testing.T) {
	d := harness.New(t)
	c := d.Run("sleep", "1000")
	c.ExecOutput("first", "true")
	shim := c.HoldShim()
	files := func() int { return len(harness.Names(fmt.Sprintf("/proc/%d/fd", shim.Pid()))) }
	filesBefore, bundleBefore := files(), harness.Names(c.Bundle.Path)
	good := []byte(`{"args":["true"],"cwd":"/"}`)
	want := func(name string, err error, text string) {
		t.Helper()
		if client.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), text) || len(err.Error()) > 64<<10 {
			t.Errorf("%s: %.500v, want InvalidArgument and %q", name, err, text)
		}
	}
	for name, id := range badIDs {
		if name != "no text" {
			want("id: "+name, execRaw(d, c, id, "", good), "id")
		}
	}
	for name, spec := range map[string]string{
		"empty": "", "cut short": `{"args":`, "no object": `["true"]`, "null": "null", "NULs": "\x00\x00",
		"nested deeply": strings.Repeat(`{"user":`, 20000), "endless": `{"args":` + strings.Repeat("[", 1<<20),
		"a mebibyte of nothing": strings.Repeat(" ", 1<<20), "a protobuf": "\x0a\x04true",
	} {
		want("spec: "+name, execRaw(d, c, "x", strings.Repeat("u", 1000), []byte(spec)), "spec")
	}
	_, err := c.Shim.Task.Exec(d.Ctx(), &task.ExecProcessRequest{Id: c.ContainerID, ExecId: "x"})
	want("no spec", err, "spec")
	// What only the runtime can judge fails when it is started; the text is its own.
	for name, spec := range map[string]string{
		"wrong types":    `{"args":7,"cwd":[]}`,
		"no program":     `{"args":[],"cwd":"/"}`,
		"no such user":   `{"args":["true"],"cwd":"/","user":{"uid":-7}}`,
		"a NUL in args":  `{"args":["tr\u0000ue"],"cwd":"/"}`,
		"a relative cwd": `{"args":["true"],"cwd":"x"}`,
		"two mebibytes":  `{"args":["` + strings.Repeat("a", 2<<20) + `"],"cwd":"/"}`,
	} {
		if err := execRaw(d, c, "x", "", []byte(spec)); err != nil {
			t.Errorf("spec: %s: %v", name, err)
			continue
		}
		_, err := c.Shim.Task.Start(d.Ctx(), &task.StartRequest{Id: c.ContainerID, ExecId: "x"})
		if err == nil || !strings.Contains(err.Error(), "OCI runtime exec failed") || len(err.Error()) > 64<<10 {
			t.Errorf("spec: %s: %.500v", name, err)
		}
		if _, err := c.Shim.Task.Delete(d.Ctx(), &task.DeleteRequest{Id: c.ContainerID, ExecId: "x"}); err != nil {
			t.Errorf("spec: %s: delete: %v", name, err)
		}
	}
	for name, r := range map[string]*wkt.Any{
		"empty": {}, "cut short": {Value: []byte("{")}, "no object": {Value: []byte("[]")}, "wrong types": {Value: []byte(`{"memory":7}`)},
	} {
		_, err := c.Shim.Task.Update(d.Ctx(), &task.UpdateTaskRequest{Id: c.ContainerID, Resources: r})
		want("resources: "+name, err, "update")
	}
	answersEverything(t, d, c)
	if status, out := c.ExecOutput("x", "echo", "well"); status != 0 || out != "well\n" {
		t.Errorf("exec: status %d, %q", status, out)
	}
	d.Eventually("the shim's files", func() error {
		if n := files(); n > filesBefore {
			return fmt.Errorf("%d files, before %d", n, filesBefore)
		}
		return nil
	})
	if after := harness.Names(c.Bundle.Path); !slices.Equal(after, bundleBefore) {
		t.Errorf("the bundle holds %q, before %q", after, bundleBefore)
	}
	c.Finish()
}

// endless is an input that has no end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestAStartThatIsToldNonsenseSaysSoAndLeavesNothing(t *testing.T) {
	d := harness.New(t)
	spec, err := client.DefaultSpec(d.Namespace, "n", "true").JSON()
	if err != nil {
		t.Fatal(err)
	}
	good := bundleOf(t, d, string(spec))
	for name, tt := range map[string]struct {
		stdin io.Reader
		dir   string
		flags []string
		text  string
	}{
		"random bytes":         {stdin: io.LimitReader(rand.New(rand.NewSource(1)), 1000), text: "malformed input"},
		"one byte":             {stdin: strings.NewReader("\xff"), text: "malformed input"},
		"more than ten MiB":    {stdin: io.LimitReader(endless{}, 10<<20+1), text: "10 MiB"},
		"an endless input":     {stdin: endless{}, text: "10 MiB"},
		"no namespace":         {flags: []string{"-id", "n"}, text: "namespace"},
		"a path for an id":     {flags: []string{"-namespace", d.Namespace, "-id", "../n"}, text: "id"},
		"a path for a space":   {flags: []string{"-namespace", "../" + d.Namespace, "-id", "n"}, text: "namespace"},
		"an unknown flag":      {flags: []string{"-nonsense"}, text: "nonsense"},
		"a bundle of nonsense": {dir: bundleOf(t, d, `{"annotations":[`), text: "config.json"},
		"an empty config":      {dir: bundleOf(t, d, ""), text: "config.json"},
	} {
		flags := tt.flags
		if flags == nil {
			flags = []string{"-namespace", d.Namespace, "-id", "n"}
		}
		cmd := exec.CommandContext(d.Ctx(), harness.Shim(t), append(flags, "-address", d.Address, "-publish-binary", "/bin/true", "start")...)
		cmd.Stdin, cmd.Dir = tt.stdin, cmp.Or(tt.dir, good)
		// containerd reads both together.
		out, err := cmd.CombinedOutput()
		if err == nil || strings.Count(string(out), "\n") != 1 || !strings.Contains(string(out), tt.text) || len(out) > 4096 {
			t.Errorf("%s: %v, %q, want one line with %q", name, err, out, tt.text)
		}
		if left := harness.Names(cmd.Dir); slices.Contains(left, "address") || slices.Contains(left, "options.json") {
			t.Errorf("%s: left in the bundle: %q", name, left)
		}
	}
}
