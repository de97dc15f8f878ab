package frame

import (
	"context"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// asked returns a connection whose server has read so many requests.
func asked(t *testing.T, requests int) (c *Conn, there net.Conn) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { there.Close() })
	c = New(here, nil)
	t.Cleanup(func() { c.Close() })
	ask := frames(slices.Repeat([]any{typeRequest, "?"}, requests)...)
	go there.Write(ask)
	if _, err := io.ReadFull(c, make([]byte, len(ask))); err != nil {
		t.Fatal(err)
	}
	return c, there
}

// settle calls Settle and returns what is closed when it has returned.
func settle(t *testing.T, c *Conn) <-chan struct{} {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	settled := make(chan struct{})
	go func() {
		c.Settle(ctx)
		if ctx.Err() == nil {
			close(settled)
		}
	}()
	return settled
}

func wantSettled(t *testing.T, settled <-chan struct{}) {
	t.Helper()
	select {
	case <-settled:
	case <-time.After(patience + time.Second):
		t.Fatal("it waits on")
	}
}

// isDue reports whether c has something to answer.
func (c *Conn) isDue() bool {
	c.due.mu.Lock()
	defer c.due.mu.Unlock()
	return !c.due.isSettled()
}

func TestAConnectionIsSettledWhenTheLastByteOfTheLastAnswerIsSent(t *testing.T) {
	c, there := asked(t, 3)
	settled := settle(t, c)
	go io.Copy(io.Discard, there)
	// An answer by itself, what is no answer, then two in odd pieces.
	rest := frames(typeResponse, "!", typeData, "no", typeResponse, "", typeResponse, "a longer one")
	for _, n := range []int{11, 12, 5, 9, len(rest) - 37 - 1} {
		if _, err := c.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		if !c.isDue() {
			t.Fatalf("settled with %q unsent", rest[n:])
		}
		rest = rest[n:]
	}
	select {
	case <-settled:
		t.Fatal("it did not wait")
	default:
	}
	if _, err := c.Write(rest); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, settled)
}

func TestAConnectionWithoutRequestsIsSettled(t *testing.T) {
	c, there := asked(t, 0)
	wantSettled(t, settle(t, c))
	ask := frames(typeData, "not a request", typeResponse, "nor this")
	go there.Write(ask)
	if _, err := io.ReadFull(c, make([]byte, len(ask))); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, settle(t, c))
}

func TestNobodyWaitsForTheAnswersOfAConnectionThatHasEnded(t *testing.T) {
	c, _ := asked(t, 1)
	settled := settle(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	wantSettled(t, settled)
	wantSettled(t, settle(t, c))
}

func TestAWaitForAnswersHasItsLimit(t *testing.T) {
	c, _ := asked(t, 1)
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan struct{})
	go func() {
		c.Settle(ctx)
		close(returned)
	}()
	cancel()
	wantSettled(t, returned)
	if !c.isDue() {
		t.Error("an answer that was given up on does not count any more")
	}
}
