package debian

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Keep returns the cache's directory of that name, which is complete if it has
// all the files wanted. If it is not, fill brings them into a new directory, which
// takes its place; of several programs that want the same, one fills. The cache is
// HOLDFAST_CACHE, or else "holdfast" where this user's caches are.
func Keep(ctx context.Context, name string, wanted []string, fill func(ctx context.Context, dir string) error) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	kept := filepath.Join(cache, name)
	if missing(kept, wanted) == nil {
		return kept, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(kept+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if missing(kept, wanted) == nil {
		return kept, nil
	}
	fmt.Fprintf(os.Stderr, "fetching %s into %s\n", name, cache)
	// Who was killed in the middle has left his behind.
	part := kept + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	defer os.RemoveAll(part)
	if err := os.Mkdir(part, 0o755); err != nil {
		return "", err
	}
	if err := fill(ctx, part); err != nil {
		return "", err
	}
	if err := missing(part, wanted); err != nil {
		return "", fmt.Errorf("what was fetched as %s is not complete: %w", name, err)
	}
	if err := os.RemoveAll(kept); err != nil {
		return "", err
	}
	return kept, os.Rename(part, kept)
}

func missing(dir string, wanted []string) error {
	for _, name := range append([]string{"."}, wanted...) {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func cacheDir() (string, error) {
	if dir := os.Getenv("HOLDFAST_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "holdfast"), nil
}
