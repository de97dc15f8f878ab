package runc

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/proto"
	"github.com/holdfast-shim/holdfast/proto/runcopts"
	"github.com/holdfast-shim/holdfast/proto/runtimeopts"
	"github.com/holdfast-shim/holdfast/proto/types"
	"github.com/holdfast-shim/holdfast/proto/wkt"
)

func boxed(t *testing.T, m proto.Message) *wkt.Any {
	t.Helper()
	a, err := proto.Pack(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// As containerd 1.7 writes a section, as 2.1 does, and as a person might.
var sections = []string{
	"BinaryName = \"/usr/bin/crun\"\nIoUid = 7\nRoot = \"/run/a \\\"b\\\"\"\nSystemdCgroup = true\n",
	"BinaryName = '/usr/bin/crun'\nIoUid = 7\nRoot = '/run/a \"b\"'\nSystemdCgroup = true\n",
	"# of ours\n\n  systemdcgroup=true # yes\n\"Root\" = \"/run/a \\\"b\\\"\" # a \"comment\"\nbinaryName='/usr/bin/crun'\r\nIoUid = 7\nNoPivotRoot = false\nTypeUrl = \"x\"\nCriuPath = \"\"",
}

var sectionsSay = runcopts.Options{BinaryName: "/usr/bin/crun", IoUid: 7, Root: `/run/a "b"`, SystemdCgroup: true}

func TestOptionsComeInEveryForm(t *testing.T) {
	forms := []*wkt.Any{boxed(t, &sectionsSay)}
	for _, s := range sections {
		forms = append(forms, boxed(t, &runtimeopts.Options{ConfigBody: []byte(s)}))
		path := filepath.Join(t.TempDir(), "options.toml")
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		forms = append(forms, boxed(t, &runtimeopts.Options{TypeUrl: "whatever", ConfigPath: path, ConfigBody: []byte("not = \"read\"")}))
	}
	for i, f := range forms {
		if o, err := Options(f); err != nil || *o != sectionsSay {
			t.Errorf("form %d: %+v, %v; want %+v", i, o, err, sectionsSay)
		}
	}
	for _, none := range []*wkt.Any{nil, {}, boxed(t, &runcopts.Options{}), boxed(t, &runtimeopts.Options{})} {
		if o, err := Options(none); err != nil || *o != (runcopts.Options{}) {
			t.Errorf("%v: %+v, %v; want none", none, o, err)
		}
	}
}

func TestEveryOptionCanBeInASection(t *testing.T) {
	want := runcopts.Options{NoPivotRoot: true, NoNewKeyring: true, ShimCgroup: "s", IoUid: 1, IoGid: 2, BinaryName: "b",
		Root: "r", SystemdCgroup: true, CriuImagePath: "i", CriuWorkPath: "w"}
	o, err := Options(boxed(t, &runtimeopts.Options{ConfigBody: []byte("NoPivotRoot = true\nNoNewKeyring = true\nShimCgroup = 's'\n" +
		"IoUid = 1\nIoGid = 2\nBinaryName = 'b'\nRoot = 'r'\nSystemdCgroup = true\nCriuImagePath = 'i'\nCriuWorkPath = 'w'\n")}))
	if err != nil || *o != want {
		t.Errorf("%+v, %v; want %+v", o, err, want)
	}
}

func TestOptionsThatAreNoneSayWhatIsWrong(t *testing.T) {
	for section, why := range map[string]string{
		"SystemdCgruop = true":           "line 1: SystemdCgruop: no such option",
		"\nRoot = /run":                  "line 2: Root: /run is no string",
		"Root = \"/run":                  "is no string",
		"Root = \"/run\" x":              "is no string",
		"Root =":                         "no value",
		"Root = \"\\q\"":                 "is no string",
		"SystemdCgroup = \"true\"":       "neither true nor false",
		"IoUid = -1":                     "no number of 32 bits",
		"IoUid = 4294967296":             "no number of 32 bits",
		"[table]":                        "no key and value",
		"Root":                           "no key and value",
		"Root = '/run/\x00'\nBinaryName": "line 2",
	} {
		if o, err := Options(boxed(t, &runtimeopts.Options{ConfigBody: []byte(section)})); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %+v, %v; want %q", section, o, err, why)
		}
	}
	path := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(path, []byte(strings.Repeat("#", configLimit+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for p, why := range map[string]string{path: "longer than", "/not/there": "/not/there"} {
		if _, err := Options(boxed(t, &runtimeopts.Options{ConfigPath: p})); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", p, err, why)
		}
	}
	var kind *proto.TypeError
	if _, err := Options(boxed(t, &types.Mount{})); !errors.As(err, &kind) {
		t.Errorf("a mount for options: %v", err)
	}
}

func FuzzOptionsInASection(f *testing.F) {
	for _, s := range sections {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, section string) {
		var o runcopts.Options
		if err := setOptions(&o, section); err != nil && !strings.HasPrefix(err.Error(), "line ") {
			t.Errorf("%v does not say where", err)
		}
	})
}
