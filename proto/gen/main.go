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
	files, err := build(root)
	if err != nil {
		return err
	}
	for path, src := range files {
		if err := write(path, src); err != nil {
			return err
		}
	}
	return prune(root, files)
}

// build returns what each .pb.go is to hold, by its path.
func build(root string) (map[string][]byte, error) {
	names, err := find(root)
	if err != nil {
		return nil, err
	}
	descriptors, err := compile(root, names)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	sources := generate(descriptors)
	for _, fd := range descriptors {
		src, err := rewrite(fd, sources[fd.GetName()])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", fd.GetName(), err)
		}
		if src != nil {
			out[filepath.Join(root, strings.TrimSuffix(fd.GetName(), ".proto")+".pb.go")] = src
		}
	}
	return out, nil
}

// write leaves a file alone that is right already, so that builds stay cached.
func write(path string, src []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, src) {
		return nil
	}
	return os.WriteFile(path, src, 0o644)
}

func prune(root string, keep map[string][]byte) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pb.go") || keep[path] != nil {
			return err
		}
		return os.Remove(path)
	})
}
