package stdio

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"testing"
	"time"
)

// stdioRole has the test binary play a process of a benchmark instead of
// running tests, so that what is measured in this process is the relay's alone.
const stdioRole = "HOLDFAST_STDIO_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(stdioRole) {
	case "write":
		playWriter()
	case "read":
		playReader()
	default:
		os.Exit(checked(m))
	}
}

// checked runs the tests and fails if they leave goroutines or descriptors.
func checked(m *testing.M) int {
	flag.Parse()
	// What the runtime and package os open for themselves is open then.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	// So is the waiting room, which stays.
	silent.prepare()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run() // go test's own workers and signals are not ours to count
	}
	goroutines, descriptors := runtime.NumGoroutine(), countFds()
	code := m.Run()
	if code != 0 {
		return code
	}
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		// A goroutine that was told to end may need a moment for it.
		g, d := runtime.NumGoroutine(), countFds()
		if g <= goroutines && d <= descriptors {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "left behind: %d goroutines, %d descriptors\n", g-goroutines, d-descriptors)
			_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			return 1
		}
	}
}

func countFds() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(d)
}
