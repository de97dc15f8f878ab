package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is what the generator makes of our files, once for all tests.
var built = sync.OnceValues(func() (map[string][]byte, error) { return build("..") })

// The generated code in the repository is what the .proto files and the
// generators named in go.mod make now.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	files, err := built()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range files {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the generator makes (%v): run make proto", path, err)
		}
	}
	err = filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".pb.go") && files[path] == nil {
			t.Errorf("%s has no .proto: run make proto", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheSameInputGivesTheSameBytes(t *testing.T) {
	first, err := built()
	if err != nil {
		t.Fatal(err)
	}
	second, err := build("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != len(second) {
		t.Fatalf("%d files, then %d", len(first), len(second))
	}
	for path := range first {
		if !bytes.Equal(first[path], second[path]) {
			t.Errorf("%s differs", path)
		}
	}
}

// A rule that fits nothing any more means that gogo writes otherwise than when the
// rule was made.
func TestEveryReplacementFitsSomewhere(t *testing.T) {
	names, err := find("..")
	if err != nil {
		t.Fatal(err)
	}
	files, err := compile("..", names)
	if err != nil {
		t.Fatal(err)
	}
	fits := make([]bool, len(replacements))
	for _, src := range generate(files) {
		body, _, err := cut(src)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range replacements {
			fits[i] = fits[i] || r.pattern.MatchString(body)
			body = r.pattern.ReplaceAllString(body, r.with)
		}
		for _, left := range []string{"shift", "fmt.", "ErrIntOverflow", "protobuf:"} {
			if strings.Contains(body, left) {
				t.Errorf("%q is left in the output", left)
			}
		}
	}
	for i, r := range replacements {
		if !fits[i] {
			t.Errorf("nothing to replace for %s", r.pattern)
		}
	}
}

func TestNothingThatRunsAtStartGetsThrough(t *testing.T) {
	for _, src := range []string{
		"package p\nfunc init() {}",
		"package p\nfunc help() {}",
		"package p\nvar names = map[int32]string{}",
		"package p\nimport _ \"github.com/gogo/protobuf/proto\"",
		"package p\nimport \"fmt\"",
		"package p\nfunc (",
	} {
		if clean([]byte(src)) == nil {
			t.Errorf("let through:\n%s", src)
		}
	}
	if err := clean([]byte("package p\nimport \"io\"\ntype T struct{}\nfunc (*T) Reset() {}")); err != nil {
		t.Error(err)
	}
}

func TestRunLeavesOnlyWhatBelongs(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("a/a.proto", "syntax = \"proto3\";\npackage x.a;\noption go_package = \"example.org/a;a\";\nmessage M { optional string s = 1; oneof o { int32 n = 2; } }\n")
	put("a/only_a_service.proto", "syntax = \"proto3\";\npackage x.b;\noption go_package = \"example.org/a;a\";\nimport \"a/a.proto\";\nservice S { rpc Do(x.a.M) returns (x.a.M); }\n")
	put("a/gone.pb.go", "package a\n")
	put("a/kept.go", "package a\n")
	if err := run(root); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(filepath.Join(root, "a"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got, want := strings.Join(names, " "), "a.pb.go a.proto kept.go only_a_service.proto"; got != want {
		t.Errorf("left %s, want %s", got, want)
	}
	src, err := os.ReadFile(filepath.Join(root, "a/a.pb.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"S string `json", "return \"x.a.M\"", "// Code generated", "DO NOT EDIT."} {
		if !bytes.Contains(src, []byte(want)) {
			t.Errorf("no %q in\n%s", want, src)
		}
	}
	if err := run(filepath.Join(root, "absent")); err == nil {
		t.Error("a folder that is not there is no error")
	}
	put("a/wrong.proto", "syntax = \"proto3\";\nmessage {}\n")
	if err := run(root); err == nil || !strings.Contains(err.Error(), "wrong.proto:2") {
		t.Errorf("a file that is no proto: %v", err)
	}
}
