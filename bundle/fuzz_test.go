package bundle

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// memory is a directory where files cost little, as bundles are.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// What lies in a bundle may be cut short or another's; an address is what is there.
func FuzzAddress(f *testing.F) {
	f.Add("unix:///run/containerd/s/0f90ddeed4780fc0bc88b13596b528e780c14214cf384e19fc1ba5949dd3ec2d", `{"version":3,"address":"unix:///x","protocol":"ttrpc"}`)
	f.Add(" \n", `{"address":""}`)
	f.Add("unix:///a\n", `{"address":7}`)
	f.Fuzz(func(t *testing.T, address, boot string) {
		if len(address) > small || len(boot) > small {
			return
		}
		dir := memory(t)
		if err := os.WriteFile(filepath.Join(dir, BootstrapFile), []byte(boot), 0o600); err != nil {
			t.Fatal(err)
		}
		var want struct{ Address string }
		named := json.Unmarshal([]byte(boot), &want) == nil && want.Address != ""
		switch got, err := ReadAddress(dir); {
		case named && (err != nil || got != want.Address):
			t.Errorf("%s: %q of %q, %v", BootstrapFile, got, boot, err)
		case !named && !errors.Is(err, ErrCorrupt):
			t.Errorf("%s: %q of %q, %v", BootstrapFile, got, boot, err)
		}
		if err := WriteAddress(dir, address); err != nil {
			t.Fatal(err)
		}
		got, err := ReadAddress(dir)
		if text := strings.TrimSpace(address); got != text || (text == "") != errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %q of %q, %v", AddressFile, got, address, err)
		}
	})
}

func FuzzOwnPidNamespace(f *testing.F) {
	f.Add([]byte(`{"linux":{"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/1/ns/net"}]}}`))
	f.Add([]byte(`{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}`))
	f.Add([]byte(`{"linux":{"namespaces":"pid"}}`))
	f.Add([]byte(`{"linux":null}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		own, err := OwnPidNamespace(config)
		if err != nil && (own || !errors.Is(err, ErrConfig)) {
			t.Fatalf("%v, %v", own, err)
		}
		var doc map[string]any
		if err != nil || json.Unmarshal(config, &doc) != nil {
			return
		}
		// Written anew: no member twice, nor in two spellings, which are taken differently.
		spelled := func(m map[string]any, name string) any {
			for key := range m {
				if key != name && strings.EqualFold(key, name) {
					delete(m, key)
				}
			}
			return m[name]
		}
		want := false
		linux, _ := spelled(doc, "linux").(map[string]any)
		namespaces, _ := spelled(linux, "namespaces").([]any)
		for _, one := range namespaces {
			ns, _ := one.(map[string]any)
			if spelled(ns, "type") == "pid" {
				path, _ := spelled(ns, "path").(string)
				want = path == ""
				break
			}
			spelled(ns, "path")
		}
		canonical, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if own, err := OwnPidNamespace(canonical); err == nil && own != want {
			t.Errorf("%s: %v, want %v", canonical, own, want)
		}
	})
}
