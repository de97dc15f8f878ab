package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestARuntimeThatFloodsItsOutputIsReadToTheEnd(t *testing.T) {
	s := newStub(t, faults{"*": {"spew": 1 << 20, "stderr": "the last words\n", "exit": 7}})
	for _, v := range everyVerb {
		if v.verb == verbCreate || v.verb == verbExec || v.verb == verbRestore {
			continue // their output is the container's
		}
		e := failure(t, v.call(context.Background(), s.Runtime), nil)
		if e.Status != 7 || len(e.Message) > maxTail+len("…") {
			t.Errorf("%s: status %d, a message of %d bytes", v.verb, e.Status, len(e.Message))
		}
	}
}

func TestTheLogsErrorIsTheMessageWhateverIsPrinted(t *testing.T) {
	s := newStub(t, faults{"*": {"spew": 1 << 20, "error": "container does not exist", "exit": 1}})
	for _, v := range everyVerb {
		err := v.call(context.Background(), s.Runtime)
		var want error = ErrNotFound
		if onContainer&(1<<v.verb) == 0 {
			want = nil // nothing that these verbs can mean by it
		}
		e := failure(t, err, want)
		if e.Message != "container does not exist" || e.Verb != v.verb.String() || e.Runtime != "stubruntime" || e.Status != 1 {
			t.Errorf("%s: %#v", v.verb, e)
		}
		if want := "stubruntime " + v.verb.String() + ": container does not exist"; err.Error() != want {
			t.Errorf("%s: the error reads %q, want %q", v.verb, err, want)
		}
	}
	if left := s.logs(); !slices.Equal(left, []string{"log.json"}) {
		t.Errorf("logs left: %q", left)
	}
}

func TestWhatARuntimePrintsIsTheMessageWhenTheLogHasNone(t *testing.T) {
	for _, test := range []struct{ name, stderr, want string }{
		{"one line", "some words\n", "some words"},
		{"a Go panic", "some words\npanic: runtime error: index out of range [3]\n\ngoroutine 1 [running]:\nmain.main()\n", "panic: runtime error: index out of range [3]"},
		{"a Go runtime that gets no thread", "runtime: failed to create new OS thread (have 5 already; errno=11)\nfatal error: newosproc\n\nmore", "runtime: failed to create new OS thread (have 5 already; errno=11)"},
		{"nothing", "", "exit status 1"},
		{"a log on stderr", `{"level":"error","msg":"said so"}` + "\nand more\n", "said so"},
		{"the end of many lines", strings.Repeat("line of output\n", 1000) + "the cause", "…" + strings.Repeat("line of output\n", 135) + "the cause"},
		{"invalid UTF-8", "a\xffb", "a\uFFFDb"},
	} {
		// Through a script: JSON cannot carry the last one.
		r := script(t, `cat "$PWD/words" >&2; exit 1`)
		if err := os.WriteFile(filepath.Join(r.Bundle, "words"), []byte(test.stderr), 0o600); err != nil {
			t.Fatal(err)
		}
		if e := failure(t, r.Pause(context.Background()), nil); e.Message != test.want {
			t.Errorf("%s: %q, want %q", test.name, e.Message, test.want)
		}
	}
}

func TestWithAConsoleTheRuntimesOwnOutputIsRead(t *testing.T) {
	s := newStub(t, faults{"*": {"stderr": "the console socket is gone", "exit": 1}})
	for _, err := range []error{
		s.Create(context.Background(), CreateOpts{IO: IO{ConsoleSocket: "s"}}),
		s.Exec(context.Background(), ExecOpts{IO: IO{ConsoleSocket: "s"}}),
		s.Restore(context.Background(), RestoreOpts{IO: IO{ConsoleSocket: "s"}}),
	} {
		if e := failure(t, err, nil); e.Message != "the console socket is gone" {
			t.Errorf("%v", err)
		}
	}
}

func TestGarbageInTheLogHidesNoError(t *testing.T) {
	garbage := "garbage\n{\"level\":\"error\",\n\x00{}[]\n" + strings.Repeat("x", 100_000) + "\n"
	s := newStub(t, faults{"*": {"log": garbage, "error": "the container `c1` is paused", "exit": 1}})
	failure(t, s.Exec(context.Background(), ExecOpts{}), ErrPaused)

	s.set(faults{"*": {"log": garbage, "stderr": "no such verb", "exit": 1}})
	if e := failure(t, s.Start(context.Background()), nil); e.Message != "no such verb" {
		t.Errorf("%v", e)
	}
}

func TestAnOldErrorInTheSharedLogIsNotThisCalls(t *testing.T) {
	s := newStub(t, faults{"start": {"exit": 5}})
	s.write("log.json", `{"level":"error","msg":"container does not exist"}`+"\n")
	if e := failure(t, s.Start(context.Background()), nil); e.Message != "exit status 5" {
		t.Errorf("%v", e)
	}
	s.set(faults{"start": {"error": "cannot start an already running container", "exit": 1}})
	failure(t, s.Start(context.Background()), ErrRunning)
	if e := failure(t, s.Pause(context.Background()), nil); e.Message == "cannot start an already running container" {
		t.Errorf("another verb's error: %v", e)
	}
}

func TestConcurrentVerbsDoNotMixTheirMessages(t *testing.T) {
	s := newStub(t, faults{
		"kill":  {"error": "kill said {last}", "exit": 1},
		"exec":  {"error": "exec said {last}", "exit": 1},
		"state": {"error": "state said {last}", "exit": 1},
		"start": {"error": "start said {last}", "exit": 1},
	})
	var calls sync.WaitGroup
	call := func(want string, f func() error) {
		calls.Go(func() {
			for range 10 {
				var e *Error
				if err := f(); !errors.As(err, &e) || e.Message != want {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
	ctx := context.Background()
	for sig := 1; sig <= 8; sig++ {
		call(fmt.Sprintf("kill said %d", sig), func() error { return s.Kill(ctx, sig, false) })
	}
	call("exec said c1", func() error { return s.Exec(ctx, ExecOpts{}) })
	call("state said c1", func() error { _, err := s.State(ctx); return err })
	call("start said c1", func() error { return s.Start(ctx) })
	calls.Wait()
	if left := s.logs(); !slices.Equal(left, []string{"log.json"}) {
		t.Errorf("logs left: %q", left)
	}
}

func TestEveryVerbEndsByItsDeadline(t *testing.T) {
	s := newStub(t, faults{"*": {"hang": true}})
	s.Deadlines.Default = 50 * time.Millisecond
	for _, v := range everyVerb {
		err := v.call(context.Background(), s.Runtime)
		failure(t, err, ErrDeadline)
		if want := "stubruntime " + v.verb.String() + ": no answer within 50ms"; err.Error() != want {
			t.Errorf("the error reads %q, want %q", err, want)
		}
	}
	if left := s.logs(); len(left) != 0 {
		t.Errorf("logs left: %q", left)
	}
}

func TestARuntimeThatHangsIsKilledWithItsChildren(t *testing.T) {
	s := newStub(t, faults{"*": {"error": "it got this far", "orphan": "orphan", "hang": true}})
	for _, v := range everyVerb {
		ctx, cancel := context.WithCancel(context.Background())
		end := make(chan error)
		go func() { end <- v.call(ctx, s.Runtime) }()
		orphan := s.readPid("orphan")
		cancel()
		err := <-end
		failure(t, err, context.Canceled)
		if !strings.HasPrefix(err.Error(), "stubruntime "+v.verb.String()+": given up after ") ||
			!strings.HasSuffix(err.Error(), ": context canceled: it got this far") {
			t.Errorf("the error reads %q", err)
		}
		eventually(t, "the runtime's child to be killed", func() bool { return gone(orphan) })
		if err := os.Remove(s.file("orphan")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheRequestsOwnDeadlineIsNotTheVerbs(t *testing.T) {
	s := newStub(t, faults{"*": {"hang": true}})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	failure(t, s.Kill(ctx, 9, false), context.DeadlineExceeded)
}

func TestNothingIsStartedForARequestThatIsOver(t *testing.T) {
	s := newStub(t, faults{"*": {"exit": 0}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, v := range everyVerb {
		failure(t, v.call(ctx, s.Runtime), context.Canceled)
	}
	if exists(s.file("calls")) {
		t.Errorf("the runtime ran: %q", s.calls())
	}
}

func TestAChildThatHoldsTheOutputDoesNotHoldUs(t *testing.T) {
	s := newStub(t, faults{"*": {"orphan": "orphan", "stderr": "its last words", "exit": 3}})
	for _, v := range everyVerb {
		err := v.call(context.Background(), s.Runtime)
		orphan := s.readPid("orphan")
		if e := failure(t, err, nil); e.Status != 3 || e.Message != "its last words" && e.Message != "exit status 3" {
			t.Errorf("%v", err)
		}
		if gone(orphan) {
			t.Errorf("%s: the child was killed, although the runtime ended by itself", v.verb)
		}
		if err := errors.Join(unix.Kill(orphan, unix.SIGKILL), os.Remove(s.file("orphan"))); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAChildThatGoesOnWritingDoesNotHoldUs(t *testing.T) {
	noLeaks(t)
	var o output
	w, err := o.capture(ends{headMax: keptOutput, tailMax: keptOutput})
	if err != nil {
		t.Fatal(err)
	}
	end := make(chan struct{})
	go func() {
		defer close(end)
		defer w.Close()
		for err := error(nil); err == nil; {
			_, err = w.Write(make([]byte, 4096)) // until stop has closed the other end
		}
	}()
	o.stop()
	<-end
}

func TestADyingRuntimesSignalIsNamed(t *testing.T) {
	for sig, want := range map[unix.Signal]string{
		unix.SIGKILL: "killed by SIGKILL", unix.SIGSEGV: "killed by SIGSEGV", unix.Signal(40): "killed by signal 40",
	} {
		s := newStub(t, faults{"delete": {"signal": sig}, "start": {"error": "container does not exist", "signal": sig}})
		e := failure(t, s.Delete(context.Background(), true), nil)
		if e.Message != want || e.Status != 128+uint32(sig) || e.Error() != "stubruntime delete: "+want {
			t.Errorf("%#v", e)
		}
		// Words are kept, but not believed: what killed it may have come first.
		if e := failure(t, s.Start(context.Background()), nil); e.Message != want+": container does not exist" {
			t.Errorf("%v", e)
		}
	}
}

func TestARuntimeThatDoesNothingIsNotTakenForOneThatDidItBefore(t *testing.T) {
	s := newStub(t, faults{"*": {"exit": 0}})
	ctx := context.Background()
	file := s.file("init.pid")
	for name, call := range map[string]func() error{
		"create":  func() error { return s.Create(ctx, CreateOpts{PidFile: file}) },
		"exec":    func() error { return s.Exec(ctx, ExecOpts{PidFile: file}) },
		"restore": func() error { return s.Restore(ctx, RestoreOpts{PidFile: file}) },
	} {
		s.write("init.pid", "1")
		s.write(".init.pid", "") // runc's own, from when it was killed
		if err := call(); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadPidFile(file); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the pid file: %v", name, err)
		}
		if exists(s.file(".init.pid")) {
			t.Errorf("%s: runc's temporary pid file is still there", name)
		}
	}
}

func TestAnAnswerThatIsNoState(t *testing.T) {
	s := newStub(t, faults{"state": {"stdout": "not JSON\nat all", "stderr": "a warning", "exit": 0}})
	_, err := s.State(context.Background())
	if e := failure(t, err, nil); !strings.Contains(e.Message, `"not JSON"`) {
		t.Errorf("%v", err)
	}
}

func TestWarningsDoNotSpoilTheAnswer(t *testing.T) {
	big := strings.Repeat("x", 1<<20) // an annotation
	s := newStub(t, faults{
		"state":    {"stdout": `{"id":"c1","status":"running","pid":7,"bundle":"/b","annotations":{"a":"` + big + `"}}`, "spew": 1 << 18, "exit": 0},
		"features": {"stdout": `{"ociVersionMin":"1.0.0"}`, "stderr": "a warning", "exit": 0},
	})
	state, err := s.State(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if want := (State{ID: "c1", Status: "running", Pid: 7, Bundle: "/b"}); *state != want {
		t.Errorf("got %+v, want %+v", *state, want)
	}
	features, err := s.Features(context.Background())
	if err != nil || string(features) != `{"ociVersionMin":"1.0.0"}` {
		t.Errorf("features: %q, %v", features, err)
	}
}

func TestAnAnswerWithoutEndIsRefused(t *testing.T) {
	r := script(t, "head -c 17000000 /dev/zero")
	_, err := r.State(context.Background())
	if e := failure(t, err, nil); !strings.Contains(e.Message, "longer than") {
		t.Errorf("%v", err)
	}
}

func TestFeaturesNeedNoContainer(t *testing.T) {
	noLeaks(t)
	r := script(t, `[ "$PWD" = / ] && echo "$@"`)
	got, err := Features(context.Background(), children, r.Binary)
	if err != nil || string(got) != "--log-format json features\n" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestWithoutABundleTheVerbsThatCanWorkDo(t *testing.T) {
	s := newStub(t, nil)
	binary := s.Binary
	r := script(t, `echo "$PWD $*" >"${0%/*}/seen"`)
	s.Binary, s.Bundle = r.Binary, filepath.Join(s.Bundle, "none")
	ctx := context.Background()
	if err := s.Delete(ctx, true); err != nil {
		t.Fatal(err)
	}
	seen, err := os.ReadFile(filepath.Join(filepath.Dir(r.Binary), "seen"))
	if want := "/ --root /nowhere/root --log-format json delete --force c1\n"; err != nil || string(seen) != want {
		t.Errorf("ran %q (%v), want %q", seen, err, want)
	}
	// These would have nowhere to say what is wrong.
	for _, err := range []error{s.Create(ctx, CreateOpts{}), s.Exec(ctx, ExecOpts{}), s.Restore(ctx, RestoreOpts{})} {
		if e := failure(t, err, ErrInvalid); !strings.Contains(e.Message, s.Bundle) {
			t.Errorf("%v", err)
		}
	}

	// The log goes to stderr then, still in JSON.
	t.Setenv("STUBRUNTIME_CONFIG", filepath.Join(t.TempDir(), "c"))
	s.Runtime = &Runtime{Binary: binary, Bundle: s.Bundle, ID: "c1", Reaper: children}
	config := `{"verbs":{"kill":{"error":"container not running","stderr":"noise\n","exit":1}}}`
	if err := os.WriteFile(os.Getenv("STUBRUNTIME_CONFIG"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if e := failure(t, s.Kill(ctx, 9, false), ErrNotRunning); e.Message != "container not running" {
		t.Errorf("%v", e)
	}
}

func TestAMissingRuntimeIsSaidToBeMissing(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"plain": "x", "bad-interpreter": "#!/none\n", "bad-format": "\x7fELFnot"} {
		mode := os.FileMode(0o700)
		if name == "plain" {
			mode = 0o600
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, binary := range []string{"no-such-runtime", "./relative", dir, dir + "/none", dir + "/none/none", dir + "/plain", dir + "/bad-interpreter", dir + "/bad-format"} {
		for _, v := range everyVerb {
			err := v.call(context.Background(), &Runtime{Binary: binary, Bundle: dir, ID: "c1", Reaper: children})
			if e := failure(t, err, ErrNoRuntime); e.Runtime != filepath.Base(binary) || e.Verb != v.verb.String() {
				t.Errorf("%#v", e)
			}
		}
	}
}

func TestARuntimeThatWasReplacedIsFoundAgain(t *testing.T) {
	noLeaks(t)
	one, two := t.TempDir(), t.TempDir()
	for _, dir := range []string{one, two} {
		if err := os.WriteFile(filepath.Join(dir, "myruntime"), []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", one+":"+two+":"+os.Getenv("PATH"))
	r := &Runtime{Binary: "myruntime", Bundle: t.TempDir(), ID: "c1", Reaper: children}
	if err := r.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(one, "myruntime")); err != nil {
		t.Fatal(err)
	}
	failure(t, r.Start(context.Background()), ErrNoRuntime)
	if err := r.Start(context.Background()); err != nil {
		t.Errorf("after the upgrade: %v", err)
	}
}

func TestTheRuntimeIsNotLookedForInTheBundle(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "runc"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, path := range []string{"", ".", ":.:./", "."} {
		if got, err := lookPath("runc", path); !errors.Is(err, ErrNoRuntime) {
			t.Errorf("with PATH=%q: %q, %v", path, got, err)
		}
	}
	if got, err := lookPath("./runc", ""); err != nil || got != filepath.Join(dir, "runc") {
		t.Errorf("a path: %q, %v", got, err)
	}
}

// What it was asked for can be looked for, so it is.
func TestARuntimeThatIsDoneAndHasNotDoneItIsNotBelieved(t *testing.T) {
	s := newStub(t, faults{"*": {"exit": 0}})
	s.Root = t.TempDir()
	ctx := context.Background()
	for _, test := range []struct {
		left string // in the container's directory
		call func() error
	}{
		{"exec.fifo", func() error { return s.Start(ctx) }},
		{"state.json", func() error { return s.Delete(ctx, false) }},
		{"status", func() error { return s.Delete(ctx, true) }},
	} {
		if err := test.call(); err != nil {
			t.Errorf("without %s: %v", test.left, err)
		}
		dir := filepath.Join(s.Root, s.ID)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, test.left)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		failure(t, test.call(), ErrNotDone)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	failure(t, s.Checkpoint(ctx, CheckpointOpts{ImagePath: t.TempDir()}), ErrNotDone)
}
