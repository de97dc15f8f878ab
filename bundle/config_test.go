package bundle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestGroupIsWhatTheAnnotationsSay(t *testing.T) {
	const (
		group   = "io.containerd.runc.v2.group"
		sandbox = "io.kubernetes.cri.sandbox-id"
	)
	for _, c := range []struct {
		name, config string
		group        string
		named        bool
		err          error
	}{
		{"no annotations", `{"ociVersion":"1.0.2","process":{"args":["sh"]}}`, "", false, nil},
		{"empty spec", `{}`, "", false, nil},
		{"null", `{"annotations":null}`, "", false, nil},
		{"other annotations", `{"annotations":{"a":"b"}}`, "", false, nil},
		{"a pod", `{"annotations":{"a":"b","` + sandbox + `":"pod1"}}`, "pod1", true, nil},
		{"a group", `{"annotations":{"` + group + `":"g1"}}`, "g1", true, nil},
		{"the group comes first wherever it stands", `{"annotations":{"` + sandbox + `":"pod1","` + group + `":"g1"}}`, "g1", true, nil},
		{"an empty group is a group", `{"annotations":{"` + group + `":"","` + sandbox + `":"pod1"}}`, "", true, nil},
		{"escapes", `{"\u0061nnotations":{"` + sandbox + `":"p\u006fd\n\"1\""}}`, "pod\n\"1\"", true, nil},
		{"a value of another type is none", `{"annotations":{"` + group + `":7,"` + sandbox + `":"pod1"}}`, "pod1", true, nil},
		{"annotations deeper down are others'", `{"linux":{"annotations":{"` + sandbox + `":"pod1"}},"x":["annotations",{"annotations":{}}]}`, "", false, nil},
		{"a string that looks like one", `{"x":"\"annotations\":{\"` + sandbox + `\":\"pod1\"}"}`, "", false, nil},
		{"space everywhere", " {\n\t\"annotations\" : {\r\n \"" + sandbox + "\" :\t\"pod1\" } } ", "pod1", true, nil},
		{"what comes after does not count", `{"annotations":{"` + sandbox + `":"pod1"},"linux":oops`, "pod1", true, nil},
		{"not JSON", `hello`, "", false, ErrConfig},
		{"nothing", ``, "", false, ErrConfig},
		{"an array", `[]`, "", false, ErrConfig},
		{"annotations of another type", `{"annotations":["x"]}`, "", false, ErrConfig},
		{"cut short", `{"process":{"args":["sh"`, "", false, ErrConfig},
		{"cut in a string", `{"process":"sh`, "", false, ErrConfig},
		{"no colon", `{"process" "sh"}`, "", false, ErrConfig},
		{"no value", `{"process":}`, "", false, ErrConfig},
		{"a name that is no string", `{7:8}`, "", false, ErrConfig},
		{"deep", `{"x":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + `,"annotations":{"` + group + `":"g1"}}`, "g1", true, nil},
		{"deep without end", `{"x":` + strings.Repeat(`{"a":`, 1<<20), "", false, ErrConfig},
	} {
		got, named, err := Group([]byte(c.config))
		if got != c.group || named != c.named || !errors.Is(err, c.err) {
			t.Errorf("%s: Group = %q, %v, %v; want %q, %v, %v", c.name, got, named, err, c.group, c.named, c.err)
		}
	}
}

func TestCgroupsPathOfASpec(t *testing.T) {
	for config, want := range map[string]string{
		`{"linux":{"cgroupsPath":"/default/c1"}}`:                                    "/default/c1",
		`{"linux":{"resources":{"cgroupsPath":"no"},"cgroupsPath":"a.slice:cri:c"}}`: "a.slice:cri:c",
		`{"linux":{}}`:                    "",
		`{"linux":null}`:                  "",
		`{"linux":{"cgroupsPath":null}}`:  "",
		`{"linux":{"cgroupsPath":[1,2]}}`: "",
		`{}`:                              "",
	} {
		if got, err := CgroupsPath([]byte(config)); got != want || err != nil {
			t.Errorf("%s: %q, %v", config, got, err)
		}
	}
	if _, err := CgroupsPath([]byte(`{"linux":7}`)); !errors.Is(err, ErrConfig) {
		t.Errorf("linux of another type: %v", err)
	}
}

func TestConfigIsReadUpToABound(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, ConfigFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(maxConfig); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadConfig(dir); err != nil || len(b) != maxConfig {
		t.Errorf("at the bound: %d bytes, %v", len(b), err)
	}
	if err := f.Truncate(maxConfig + 1); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(dir); !errors.Is(err, ErrCorrupt) {
		t.Errorf("past the bound: %v", err)
	}
}

// Whatever encoding/json makes of a document that it wrote itself, we must make
// of it too.
func FuzzConfigAnnotations(f *testing.F) {
	f.Add([]byte(`{"annotations":{"io.kubernetes.cri.sandbox-id":"pod1"},"linux":{"cgroupsPath":"/a/b"}}`))
	f.Add([]byte(`{"a\\":"\\\"","annotations":{"io.containerd.runc.v2.group":"\ud800\u0000"}}`))
	f.Add([]byte(`{"annotations":{"a":{"b":[1,2,{"c":null}]},"x":true}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		group, named, err := Group(b)
		if err != nil && !errors.Is(err, ErrConfig) {
			t.Fatalf("an error of no kind: %v", err)
		}
		if err != nil && (named || group != "") {
			t.Fatalf("an answer and an error: %q, %v", group, err)
		}
		if _, err := CgroupsPath(b); err != nil && !errors.Is(err, ErrConfig) {
			t.Fatalf("an error of no kind: %v", err)
		}

		var doc map[string]any
		if json.Unmarshal(b, &doc) != nil || doc == nil {
			return
		}
		// Written anew: no member twice, which we and encoding/json take differently.
		canonical, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		group, named, err = Group(canonical)
		annotations, isObject := doc["annotations"].(map[string]any)
		if doc["annotations"] != nil && !isObject {
			if !errors.Is(err, ErrConfig) {
				t.Fatalf("%s: annotations are no object: %v", canonical, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", canonical, err)
		}
		want, ok := annotations["io.containerd.runc.v2.group"].(string)
		if !ok {
			want, ok = annotations["io.kubernetes.cri.sandbox-id"].(string)
		}
		if group != want || named != ok {
			t.Fatalf("%s: Group = %q, %v; encoding/json says %q, %v", canonical, group, named, want, ok)
		}
	})
}

func BenchmarkGroup(b *testing.B) {
	// The order and size of what the CRI plugin writes.
	config := []byte(`{"ociVersion":"1.1.0","process":{"user":{},"args":["sh"],"env":["` + strings.Repeat("A=b ", 500) +
		`"]},"mounts":[` + strings.Repeat(`{"destination":"/proc","type":"proc","options":["nosuid","noexec"]},`, 40) +
		`{}],"annotations":{"io.kubernetes.cri.sandbox-id":"0123456789abcdef"},"linux":{"seccomp":[` +
		strings.Repeat(`{"names":["accept","access"],"action":"SCMP_ACT_ALLOW"},`, 400) + `{}]}}`)
	b.SetBytes(int64(len(config)))
	for b.Loop() {
		if g, _, err := Group(config); g != "0123456789abcdef" || err != nil {
			b.Fatal(g, err)
		}
	}
}
