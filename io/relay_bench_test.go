package stdio

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// playWriter writes argv[1] bytes to stdout, argv[2] at a time, as a container.
func playWriter() {
	total, _ := strconv.ParseInt(os.Args[1], 10, 64)
	size, _ := strconv.ParseInt(os.Args[2], 10, 64)
	buf := make([]byte, size)
	for total > 0 {
		n, err := unix.Write(1, buf[:min(size, total)])
		if err != nil {
			os.Exit(1)
		}
		total -= int64(n)
	}
}

// playReader reads the fifo argv[1] to its end, as containerd.
func playReader() {
	f, err := os.Open(os.Args[1])
	if err != nil {
		os.Exit(1)
	}
	fmt.Print("r")
	buf := make([]byte, 64<<10)
	for {
		if _, err := f.Read(buf); err == io.EOF {
			return
		} else if err != nil {
			os.Exit(1)
		}
	}
}

func play(b *testing.B, role string, args ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{stdioRole + "=" + role, "GOMAXPROCS=1"}
	cmd.Stderr = os.Stderr
	return cmd
}

// BenchmarkOutput is the way of a container's output from its write to the
// reader of its fifo, with the processor time that this process spends on it.
func BenchmarkOutput(b *testing.B) {
	for _, w := range []struct{ size, total int64 }{{64 << 10, 1 << 30}, {4096, 1 << 30}, {100, 100 << 20}} {
		b.Run(fmt.Sprintf("writes=%d", w.size), func(b *testing.B) {
			spent := int64(0)
			for range b.N {
				spent += benchOutput(b, w.size, w.total)
			}
			b.SetBytes(w.total)
			b.ReportMetric(float64(spent)/1e6/(float64(w.total)/(1<<30))/float64(b.N), "cpu-ms/GiB")
		})
	}
}

// benchOutput moves total bytes from one process to another, size at a write,
// and returns the nanoseconds of processor time that it took here.
func benchOutput(b *testing.B, size, total int64) int64 {
	b.StopTimer()
	path := filepath.Join(b.TempDir(), "out")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		b.Fatal(err)
	}
	s, err := Open(b.Context(), Paths{Stdout: path}, Setup{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	reader := play(b, "read", path)
	ready, err := reader.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := reader.Start(); err != nil {
		b.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		b.Fatal(err)
	}
	writer := play(b, "write", strconv.FormatInt(total, 10), strconv.FormatInt(size, 10))
	_, out, _ := s.Child()
	writer.Stdout = out
	before := cpu()
	b.StartTimer()
	if err := writer.Start(); err != nil {
		b.Fatal(err)
	}
	if err := s.Started(); err != nil {
		b.Fatal(err)
	}
	if err := writer.Wait(); err != nil {
		b.Fatal(err)
	}
	if err := reader.Wait(); err != nil {
		b.Fatal(err)
	}
	return cpu() - before
}

// cpu is this process's processor time in nanoseconds.
func cpu() int64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
