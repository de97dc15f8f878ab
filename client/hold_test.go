package client

import (
	"context"
	"errors"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAHeldProcessIsWaitedForAndSignalled(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h, err := HoldPid(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait given up: %v", err)
	}
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Error(err)
	}
	if err := h.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	// Reaped: the number may be another's now, the hold is not.
	if err := h.Signal(unix.SIGKILL); err != nil {
		t.Errorf("signal to a process that has ended: %v", err)
	}
	if _, err := HoldPid(cmd.Process.Pid); err == nil {
		t.Error("a process that is gone was held")
	}
}
