package debian

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Wrap writes a script that starts a program of a tree that UnpackAll made, with
// the loader and the libraries of that tree. The path of the program is relative
// to the tree.
func Wrap(script, tree, program string) error {
	program = filepath.Join(tree, program)
	interp, err := interpreter(program)
	if err != nil {
		return err
	}
	// /lib64 and /lib may be links to what they are in /usr, and packages have it
	// there.
	loader, err := first(filepath.Join(tree, interp), filepath.Join(tree, "usr", interp))
	if err != nil {
		return err
	}
	var libraries []string
	for _, pattern := range []string{"usr/lib/*-linux-*", "lib/*-linux-*"} {
		dirs, err := filepath.Glob(filepath.Join(tree, pattern))
		if err != nil {
			return err
		}
		libraries = append(libraries, dirs...)
	}
	text := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s %s \"$@\"\n",
		quoted(loader), quoted(strings.Join(libraries, ":")), quoted(program))
	return os.WriteFile(script, []byte(text), 0o755)
}

// interpreter is the loader that the program asks for.
func interpreter(program string) (string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(b), "\x00"), err
		}
	}
	return "", errors.New(program + " has no loader: it needs no script either")
}

func first(paths ...string) (string, error) {
	for _, p := range paths {
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("there is none of %s", strings.Join(paths, ", "))
}

// quoted is s as one word of a shell.
func quoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
