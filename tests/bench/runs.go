package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// runs counts how often each operation runs the OCI runtime: every program that
// is run takes some 20 ms of a processor, and exec probes come for ever
// (kubernetes 82440). A script in the runtime's place writes a byte a run.
func (b *bench) runs() error {
	real, err := exec.LookPath("runc")
	if err != nil {
		return err
	}
	spec, err := execSpec("true")
	if err != nil {
		return err
	}
	return b.each(func(d *daemon) error {
		count := filepath.Join(d.dir, "runs")
		script := filepath.Join(d.dir, "counted-runc")
		text := fmt.Sprintf("#!/bin/sh\nprintf x >>'%s'\nexec '%s' \"$@\"\n", count, real)
		if err := os.WriteFile(script, []byte(text), 0o755); err != nil {
			return err
		}
		d.runtime = script
		defer func() { d.runtime = "" }()

		ctx, cancel := b.stepCtx()
		defer cancel()
		c, _, err := d.launch(ctx, "sleep", "3600")
		if err != nil {
			return err
		}
		if err := os.WriteFile(count, nil, 0o644); err != nil {
			return err
		}
		counted := func(key string, step func() error) error {
			if err := step(); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			runs, err := os.ReadFile(count)
			if err != nil {
				return err
			}
			b.add(key, d, float64(bytes.Count(runs, []byte("x"))))
			return os.Truncate(count, 0)
		}
		for _, s := range []struct {
			key  string
			step func() error
		}{
			{"runs.create", func() error { _, err := c.create(ctx, io.Discard); return err }},
			{"runs.start", func() error { _, err := c.start(ctx); return err }},
			{"runs.exec", func() error { _, err := c.exec(ctx, "e", spec); return err }},
			{"runs.calls", func() error { return c.callOnce(ctx) }},
			{"runs.delete", func() error {
				if _, _, err := c.kill(ctx); err != nil {
					return err
				}
				_, err := c.delete(ctx)
				return err
			}},
		} {
			if err := counted(s.key, s.step); err != nil {
				return err
			}
		}
		if _, err := c.shutdown(ctx); err != nil {
			return err
		}
		return c.finish(ctx)
	})
}
