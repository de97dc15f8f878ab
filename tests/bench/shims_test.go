package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/holdfast-shim/holdfast/client"
)

func TestVersionIsFoundInWhatAShimPrints(t *testing.T) {
	out := "/usr/bin/containerd-shim-runc-v2:\n  Version:  1.6.20~ds1\n  Revision: 1.6.20~ds1-1+deb12u3\n  Go version: go1.19.8\n\n"
	if v, ok := parseVersion(out); !ok || v != "1.6.20~ds1" {
		t.Errorf("%q, %v", v, ok)
	}
	for _, bad := range []string{"", "Version:", "something else"} {
		if v, ok := parseVersion(bad); ok {
			t.Errorf("%q: found %q", bad, v)
		}
	}
}

func TestDialectFollowsTheVersion(t *testing.T) {
	for v, want := range map[string]client.Dialect{
		"1.4.13~ds1":   client.DialectAddress,
		"1.6.20~ds1":   client.DialectAddress,
		"v1.7.27":      client.DialectJSON,
		"1.10.0":       client.DialectJSON,
		"2.1.9+unkown": client.DialectBootstrap,
		"v2.3.0-rc.1":  client.DialectBootstrap,
		"dev":          client.DialectBootstrap,
	} {
		if got := dialectOf(v); got != want {
			t.Errorf("%s: %v, want %v", v, got, want)
		}
	}
}

func TestPlainVersionLeavesOutThePackagers(t *testing.T) {
	for v, want := range map[string]string{"1.6.20~ds1": "1.6.20", "v2.1.9+unknown": "2.1.9", "2.0.": "2.0", "dev": ""} {
		if got := plainVersion(v); got != want {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
	}
}

func TestSymbolsDoNotCountAsSize(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	size, err := strippedSize(path)
	if err != nil {
		t.Fatal(err)
	}
	// A test binary has symbols unless it was linked without.
	if size <= 0 || size > info.Size() {
		t.Errorf("stripped %d of %d", size, info.Size())
	}
	if !strippable(".symtab") || !strippable(".debug_line") || strippable(".text") || strippable(".gopclntab") {
		t.Error("the wrong sections are left out")
	}
}

func TestSinkTimesWhatComesAfterTheFirstRead(t *testing.T) {
	var s sink
	n, err := s.ReadFrom(bytes.NewReader(make([]byte, 200<<10)))
	if err != nil || n != 200<<10 || s.bytes != n || s.firstRead != 64<<10 || s.last.Before(s.first) {
		t.Errorf("%d, %v: %+v", n, err, s)
	}
}
