package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/holdfast-shim/holdfast/usage"
)

// sink reads to the end as fast as it can and throws away. One goroutine writes
// its fields; they may be read after its end.
type sink struct {
	bytes       int64
	first, last time.Time // of reads that brought bytes
	firstRead   int64     // bytes that the first of them brought
}

var _ io.ReaderFrom = (*sink)(nil)

// ReadFrom takes as much as a fifo holds at once.
func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			s.last = time.Now()
			if s.bytes == 0 {
				s.first, s.firstRead = s.last, int64(n)
			}
			s.bytes += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return s.bytes, nil
		}
		if err != nil {
			return s.bytes, err
		}
	}
}

// Write is there to be an io.Writer; io.Copy takes ReadFrom.
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }

// rate is GiB a second, from the first read to the last: the container's start
// and end are not in it.
func (s *sink) rate() float64 {
	return float64(s.bytes-s.firstRead) / gib / s.last.Sub(s.first).Seconds()
}

// whole is an error unless all that was written has arrived.
func (s *sink) whole(piece, count int64) error {
	if s.bytes != piece*count {
		return fmt.Errorf("%d bytes arrived of the %d that were written", s.bytes, piece*count)
	}
	return nil
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// writer is a program that writes pieces as fast as it can.
func writer(piece, count int64) []string {
	return []string{"dd", "if=/dev/zero", "bs=" + strconv.FormatInt(piece, 10), "count=" + strconv.FormatInt(count, 10)}
}

// stdout has containers write as much as they can, in large pieces and in such
// as log lines are, and beside them one without any shim.
func (b *bench) stdout() error {
	for range b.effort.Streams {
		for _, way := range []struct {
			key   string
			piece int64
			total int64
		}{
			{"stdout.bulk", 64 << 10, int64(b.effort.Bulk) * mib},
			{"stdout.lines", 100, int64(b.effort.Lines) * mib},
		} {
			count := way.total / way.piece
			if err := b.each(func(d *daemon) error {
				s, cpu, err := b.stream(d, way.piece, count)
				if err != nil {
					return fmt.Errorf("stdout in pieces of %d bytes: %w", way.piece, err)
				}
				b.add(way.key+".rate", d, s.rate())
				b.add(way.key+".cpu", d, float64(cpu.Milliseconds())/(float64(s.bytes)/gib))
				return nil
			}); err != nil {
				return err
			}
			ctx, cancel := b.stepCtx()
			s, err := b.rawStream(ctx, way.piece, count)
			cancel()
			if err != nil {
				return fmt.Errorf("raw runc: %w", err)
			}
			b.addNamed(way.key+".rate", rawName, s.rate())
		}
	}
	return nil
}

// stream has a container write pieces; cpu is what the shim took for them.
func (b *bench) stream(d *daemon, piece, count int64) (*sink, time.Duration, error) {
	ctx, cancel := b.stepCtx()
	defer cancel()
	c, _, err := d.launch(ctx, writer(piece, count)...)
	if err != nil {
		return nil, 0, err
	}
	s := &sink{}
	if _, err := c.create(ctx, s); err != nil {
		return nil, 0, err
	}
	before, err := usage.CPUOf(c.hold.Pid())
	if err != nil {
		return nil, 0, err
	}
	if _, err := c.start(ctx); err != nil {
		return nil, 0, err
	}
	exit, err := d.exited(ctx, c.id, "")
	if err != nil {
		return nil, 0, err
	}
	if exit.ExitStatus != 0 {
		return nil, 0, fmt.Errorf("the writer ended with status %d", exit.ExitStatus)
	}
	// Delete waits until the shim has passed on what the container wrote.
	if _, err := c.delete(ctx); err != nil {
		return nil, 0, err
	}
	after, err := usage.CPUOf(c.hold.Pid())
	if err != nil {
		return nil, 0, err
	}
	if _, err := c.shutdown(ctx); err != nil {
		return nil, 0, err
	}
	if err := c.finish(ctx); err != nil {
		return nil, 0, err
	}
	return s, after.Own - before.Own, s.whole(piece, count)
}
