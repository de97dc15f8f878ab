package bootstrap

import (
	"bytes"
	"errors"
	"flag"
	"strings"
	"testing"

	"github.com/holdfast-shim/holdfast/bundle"
)

func TestFlagsOfEveryContainerd(t *testing.T) {
	for _, c := range []struct {
		args string
		want Flags
	}{
		{"-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -debug start",
			Flags{Face: FaceStart, Namespace: "k8s.io", Address: "/run/c.sock", PublishBinary: "/usr/bin/containerd", ID: "c1", Debug: true}},
		{"-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id c1 -bundle /b/c1 delete",
			Flags{Face: FaceDelete, Namespace: "k8s.io", Address: "/run/c.sock", PublishBinary: "/usr/bin/containerd", ID: "c1", Bundle: "/b/c1"}},
		{"--namespace=k8s.io --id=c1 --address=/run/c.sock", Flags{Namespace: "k8s.io", ID: "c1", Address: "/run/c.sock"}},
		{"-namespace n -id c -address  -debug=false start", Flags{Face: FaceServe, Namespace: "n", ID: "c"}},
		{"-namespace n -id c -socket /s -debug-socket /d", Flags{Namespace: "n", ID: "c", Socket: "/s", DebugSocket: "/d"}},
		{"-namespace n -id c start and -more", Flags{Face: FaceStart, Namespace: "n", ID: "c"}},
		{"-v", Flags{Face: FaceVersion}},
		{"--version", Flags{Face: FaceVersion}},
		{"-info", Flags{Face: FaceInfo}},
		{"-v -info", Flags{Face: FaceVersion}},
	} {
		args := strings.Split(c.args, " ")
		want := c.want
		if strings.Contains(c.args, "  ") { // an empty address
			want.Face = FaceStart
		}
		got, err := ParseFlags(args, new(bytes.Buffer))
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", c.args, got, err)
		}
	}
}

func TestFlagsThatCannotBeMeant(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
		is   error
	}{
		{[]string{"start"}, "-namespace is missing", nil},
		{nil, "-namespace is missing", nil},
		{[]string{"-namespace", "n", "delete"}, "-id is missing", nil},
		{[]string{"-namespace", "n"}, "-id is missing", nil},
		{[]string{"-namespace", "n", "-id", "c", "restart"}, `unknown action "restart"`, nil},
		{[]string{"-namespace", "n", "-id", "c", ""}, "the action is empty", nil},
		{[]string{"-namespace", "n", "-id", "../c", "start"}, "-id: invalid id", bundle.ErrInvalidID},
		{[]string{"-namespace", "..", "-id", "c", "start"}, "-namespace: invalid id", bundle.ErrInvalidID},
		{[]string{"-wrong"}, "not defined: -wrong", nil},
		{[]string{"-id"}, "needs an argument", nil},
		{[]string{"-debug=maybe", "start"}, "invalid boolean", nil},
	} {
		var stderr bytes.Buffer
		_, err := ParseFlags(c.args, &stderr)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v, want %q", c.args, err, c.says)
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%q: %v is not %v", c.args, err, c.is)
		}
		if stderr.Len() > 0 {
			t.Errorf("%q: wrote %q", c.args, stderr.String())
		}
	}
}

func TestHelpIsForThoseWhoAsk(t *testing.T) {
	var stderr bytes.Buffer
	_, err := ParseFlags([]string{"-h"}, &stderr)
	if !errors.Is(err, flag.ErrHelp) || !strings.Contains(stderr.String(), "-namespace") {
		t.Errorf("%v: %s", err, stderr.String())
	}
}
