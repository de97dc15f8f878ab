package containerd

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// server is a program of a test that runs until it is told to end: containerd or
// dockerd.
type server struct {
	process *os.Process
	ended   chan struct{} // closed when it was waited for
}

// serve starts a server, which writes to the end of that log. Its caller ends it.
func (l *daemons) serve(cmd *exec.Cmd, log string) (*server, error) {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	// An interrupt from the terminal is for the tests, which clean up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := l.start(cmd); err != nil {
		return nil, err
	}
	s := &server{process: cmd.Process, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		cmd.Wait() // how it ended is in its log
	}()
	return s, nil
}

// end ends it by a signal, or by force if it takes no notice, which is an error.
// It is gone in either case.
func (s *server) end(sig syscall.Signal) error {
	s.process.Signal(sig)
	select {
	case <-s.ended:
		return nil
	case <-time.After(patience):
		s.process.Kill()
		<-s.ended
		return fmt.Errorf("it did not end by %v", sig)
	}
}
