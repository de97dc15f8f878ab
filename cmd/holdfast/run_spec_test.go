package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLaterSettingsOfTheEnvironmentWin(t *testing.T) {
	got := mergeEnv([]string{"PATH=/bin", "A=1"}, []string{"B=2", "A=3", "PATH=/sbin"})
	if strings.Join(got, " ") != "PATH=/sbin A=3 B=2" {
		t.Errorf("%q", got)
	}
}

func edited(t *testing.T, config string, o *runOptions) (map[string]any, string, error) {
	t.Helper()
	o.Bundle = t.TempDir()
	if err := os.Mkdir(filepath.Join(o.Bundle, "r"), 0o755); err != nil {
		t.Fatal(err)
	}
	if o.ID == "" {
		o.ID = "c"
	}
	if err := os.WriteFile(filepath.Join(o.Bundle, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	text, rootfs, err := configureBundle(o)
	if err != nil {
		return nil, "", err
	}
	var c map[string]any
	if err := json.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	return c, rootfs, nil
}

func TestABundlesConfigKeepsWhatTheToolDoesNotKnow(t *testing.T) {
	o := &runOptions{}
	c, rootfs, err := edited(t, `{
		"ociVersion": "1.2.3", "future": {"a": [1, 2]}, "root": {"path": "tree", "readonly": true},
		"process": {"args": ["old"], "terminal": true, "future": 1},
		"mounts": [
			{"destination": "/a", "type": "bind", "source": "rel", "options": ["rbind"]},
			{"destination": "/b", "source": "rel", "options": ["rbind"]},
			{"destination": "/c", "type": "bind", "source": "/abs"},
			{"destination": "/d", "type": "tmpfs", "source": "tmpfs"}
		],
		"linux": {"cgroupsPath": "/mine", "resources": {"memory": {"limit": 9223372036854775807}, "pids": {"limit": 5}}}
	}`, o)
	if err != nil {
		t.Fatal(err)
	}
	if rootfs != filepath.Join(o.Bundle, "tree") {
		t.Errorf("rootfs %s", rootfs)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"ociVersion":"1.2.3"`, `"future":{"a":[1,2]}`, `"path":"rootfs"`, `"readonly":true`, `"args":["old"]`,
		`"terminal":false`, `"future":1`, `"source":"` + o.Bundle + `/rel"`, `"source":"/abs"`, `"source":"tmpfs"`,
		`"cgroupsPath":"/mine"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(string(text), `"source":"rel"`) {
		t.Errorf("a relative source is left in %s", text)
	}
}

func TestNumbersOfABundleAreNotRounded(t *testing.T) {
	o := &runOptions{Bundle: t.TempDir(), ID: "c"}
	config := `{"root":{"path":"r"},"linux":{"resources":{"memory":{"limit":9223372036854775807}}}}`
	if err := os.WriteFile(filepath.Join(o.Bundle, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	text, _, err := configureBundle(o)
	if err != nil || !strings.Contains(string(text), "9223372036854775807") {
		t.Errorf("%s, %v", text, err)
	}
}

func TestFlagsGoOverABundlesConfig(t *testing.T) {
	c, _, err := edited(t, `{"root":{"path":"r"},"process":{"args":["old"],"env":["A=1","B=2"]},"linux":{"resources":{"pids":{"limit":5},"devices":[]}}}`,
		&runOptions{Args: []string{"new", "arg"}, Env: []string{"A=3"}, Cwd: "/w", Pids: 7, Memory: 1 << 20, Terminal: true, ReadOnly: true, User: "4:5"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"args":["new","arg"]`, `"env":["A=3","B=2"]`, `"cwd":"/w"`, `"pids":{"limit":7}`, `"memory":{"limit":1048576}`,
		`"devices":[]`, `"terminal":true`, `"readonly":true`, `"gid":5,"uid":4`, `"cgroupsPath":"/holdfast-c"`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestABrokenConfigIsTold(t *testing.T) {
	for _, config := range []string{
		``, `[]`, `{`, `null`, `{}`, `{"root":1}`, `{"root":{"path":"r"},"process":[]}`, `{"root":{"path":"r"},"linux":"x"}`,
		`{"root":{"path":"r"},"mounts":{}}`, `{"root":{"path":"r"},"mounts":[1]}`, `{"root":{"path":"r"},"mounts":[{"options":1}]}`,
	} {
		if _, _, err := edited(t, config, &runOptions{}); err == nil {
			t.Errorf("%s was taken", config)
		}
	}
	if _, _, err := edited(t, `{"root":{"path":"r"},"process":{"env":[1]}}`, &runOptions{Env: []string{"A=1"}}); err == nil {
		t.Error("an environment of numbers was taken")
	}
}

func FuzzEditConfig(f *testing.F) {
	f.Add([]byte(`{"root":{"path":"r"},"mounts":[{"type":"bind","source":"x"}],"linux":{"resources":{}}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		var c object
		if json.Unmarshal(config, &c) != nil || c == nil {
			return
		}
		o := &runOptions{Bundle: "/b", ID: "c", Args: []string{"a"}, Env: []string{"A=1"}, Pids: 1}
		text, rootfs, err := editConfig(c, o)
		if err == nil && (!json.Valid(text) || !filepath.IsAbs(rootfs)) {
			t.Errorf("rootfs %q, config %s", rootfs, text)
		}
	})
}

func TestUsersAreTheContainers(t *testing.T) {
	rootfs := t.TempDir()
	if err := os.Mkdir(filepath.Join(rootfs, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"etc/passwd": "# no\nroot:x:0:0:root:/root:/bin/sh\nann:x:1000:2000:::\nbad:x:y:0::\n",
		"etc/group":  "root:x:0:\nstaff:x:50:ann\nbad:x:y:\n",
	} {
		if err := os.WriteFile(filepath.Join(rootfs, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		text     string
		uid, gid uint32
	}{
		{"0", 0, 0}, {"ann", 1000, 2000}, {"1000", 1000, 2000}, {"ann:staff", 1000, 50}, {"ann:7", 1000, 7},
		{"5", 5, 0}, {"5:6", 5, 6}, {"4294967294", 4294967294, 0},
	} {
		u, err := lookUpUser(rootfs, tt.text)
		if err != nil || u.UID != tt.uid || u.GID != tt.gid {
			t.Errorf("%s: %+v, %v", tt.text, u, err)
		}
	}
	for _, text := range []string{"nobody", "bad", "ann:nogroup", "ann:bad", "", "ann:", ":1", "-1", "4294967295", "4294967296"} {
		if u, err := lookUpUser(rootfs, text); err == nil {
			t.Errorf("%q is %+v", text, u)
		}
	}
}

func TestAContainersLinkDoesNotLeadToTheHostsUsers(t *testing.T) {
	rootfs, host := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(host, "passwd"), []byte("secret:x:77:77:::\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(rootfs, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(host, "passwd"), filepath.Join(rootfs, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	if u, err := lookUpUser(rootfs, "secret"); err == nil {
		t.Errorf("the host's user: %+v", u)
	}
}

func TestWhatTheRuntimeSaysOfTheCommandDecidesTheExitCode(t *testing.T) {
	for text, want := range map[string]int{
		`create: runc create failed: unable to start container process: exec: "x": executable file not found in $PATH`: 127,
		`unable to start container process: exec: "/x": stat /x: no such file or directory`:                            127,
		`unable to start container process: exec: "/etc": is a directory`:                                              126,
		`unable to start container process: exec: "/etc/passwd": permission denied`:                                    126,
		"executable file `x` not found in $PATH: No such file or directory":                                            127,
		"exec container process `/x`: Exec format error":                                                               126,
		`mount /no/such: no such file or directory`:                                                                    125,
		`connect: permission denied`:                                                                                   125,
	} {
		if got := commandCode(textError(text)); got != want {
			t.Errorf("%s: %d, want %d", text, got, want)
		}
	}
}

type textError string

func (e textError) Error() string { return string(e) }
