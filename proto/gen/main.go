package main

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	root := flag.String("root", "proto", "folder whose .proto files, at any depth, are generated from")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "proto/gen:", err)
		os.Exit(1)
	}
}

// run writes one .pb.go beside each .proto that defines a message or an enum,
// and removes every other .pb.go.
func run(root string) error {
	names, err := find(root)
	if err != nil {
		return err
	}
	files, err := compile(root, names)
	if err != nil {
		return err
	}
	written := map[string]bool{}
	sources := generate(files)
	for _, fd := range files {
		src, err := rewrite(fd, sources[fd.GetName()])
		if err != nil {
			return fmt.Errorf("%s: %w", fd.GetName(), err)
		}
		if src == nil {
			continue
		}
		path := filepath.Join(root, strings.TrimSuffix(fd.GetName(), ".proto")+".pb.go")
		written[path] = true
		if err := write(path, src); err != nil {
			return err
		}
	}
	return prune(root, written)
}

// write leaves a file alone that is right already, so that builds stay cached.
func write(path string, src []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, src) {
		return nil
	}
	return os.WriteFile(path, src, 0o644)
}

func prune(root string, keep map[string]bool) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pb.go") || keep[path] {
			return err
		}
		return os.Remove(path)
	})
}
