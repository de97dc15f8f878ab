package runc

import (
	"context"
	"testing"

	"github.com/holdfast-shim/holdfast/reaper"
)

// BenchmarkCall is a verb of a runtime that does nothing: next to
// BenchmarkStart, what this package adds to starting a program.
func BenchmarkCall(b *testing.B) {
	r := &Runtime{Binary: "/bin/true", Root: "/nowhere", Bundle: b.TempDir(), ID: "c1", Reaper: children}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Kill(context.Background(), 9, false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart is the start and the end of the same program.
func BenchmarkStart(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		p, err := children.Start(&reaper.Attr{Path: "/bin/true", Args: []string{"true"}}, nil)
		if err != nil {
			b.Fatal(err)
		}
		<-p.Done()
	}
}
