package debian

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Error(err)
	}
}

func TestWhatIsKeptIsFetchedOnce(t *testing.T) {
	t.Setenv("HOLDFAST_CACHE", t.TempDir())
	var fills atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			dir, err := Keep(t.Context(), "thing", []string{"file"}, func(_ context.Context, dir string) error {
				fills.Add(1)
				write(t, filepath.Join(dir, "file"), "text")
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || string(b) != "text" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	all.Wait()
	if n := fills.Load(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
}

func TestWhatIsNotCompleteIsNotKept(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("HOLDFAST_CACHE", cache)
	wanted := []string{"a", "b"}
	fill := func(names ...string) func(context.Context, string) error {
		return func(_ context.Context, dir string) error {
			for _, n := range names {
				write(t, filepath.Join(dir, n), n)
			}
			return nil
		}
	}
	// What one left who was killed.
	if err := os.MkdirAll(filepath.Join(cache, "thing.part", "old"), 0o755); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if _, err := Keep(t.Context(), "thing", wanted, func(context.Context, string) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a failed fetch: %v", err)
	}
	if _, err := Keep(t.Context(), "thing", wanted, fill("a")); err == nil || !strings.Contains(err.Error(), "/b:") {
		t.Errorf("a fetch without b: %v", err)
	}
	if names := entries(t, cache); !slices.Equal(names, []string{"thing.lock"}) {
		t.Errorf("left in the cache: %v", names)
	}
	dir, err := Keep(t.Context(), "thing", wanted, fill("a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if names := entries(t, dir); !slices.Equal(names, wanted) {
		t.Errorf("kept %v", names)
	}
	// A file that was removed since is fetched again.
	if err := os.Remove(filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if _, err := Keep(t.Context(), "thing", wanted, fill("a", "b", "c")); err != nil {
		t.Fatal(err)
	}
	if names := entries(t, dir); !slices.Equal(names, []string{"a", "b", "c"}) {
		t.Errorf("kept %v", names)
	}
}

func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
