package client

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-shim/holdfast/proto/bootstrap"
)

func result(t testing.TB, version int32, address, protocol string) string {
	t.Helper()
	b, err := (&bootstrap.BootstrapResult{Version: version, Address: address, Protocol: protocol}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswersAreReadAsEachDaemonReadsThem(t *testing.T) {
	v2 := Endpoint{2, "unix:///s/x", "ttrpc"}
	for _, tt := range []struct {
		name    string
		dialect Dialect
		out     string
		want    Endpoint // zero is a refusal
	}{
		{"bare", DialectAddress, "unix:///s/x", v2},
		{"bare with a newline", DialectAddress, "unix:///s/x\n", v2},
		{"JSON to an old daemon", DialectAddress, `{"version":2,"address":"unix:///s/x","protocol":"ttrpc"}`, Endpoint{}},
		{"nothing", DialectAddress, "", Endpoint{}},
		{"two lines", DialectAddress, "hello\nunix:///s/x", Endpoint{}},
		{"relative path", DialectAddress, "unix://s/x", Endpoint{}},
		{"abstract socket", DialectAddress, "@x", Endpoint{}},

		{"JSON", DialectJSON, `{"version":2,"address":"unix:///s/x","protocol":"ttrpc"}`, v2},
		{"JSON with a newline", DialectJSON, `{"version":2,"address":"unix:///s/x","protocol":"TTRPC"}` + "\n", Endpoint{2, "unix:///s/x", "TTRPC"}},
		{"bare to a JSON daemon", DialectJSON, "unix:///s/x", v2},
		{"version 3 to a JSON daemon", DialectJSON, `{"version":3,"address":"unix:///s/x","protocol":"ttrpc"}`, Endpoint{}},
		{"grpc", DialectJSON, `{"version":2,"address":"unix:///s/x","protocol":"grpc"}`, Endpoint{}},
		{"version 1", DialectJSON, `{"version":1,"address":"unix:///s/x","protocol":"ttrpc"}`, Endpoint{}},

		{"result", DialectBootstrap, result(t, 3, "unix:///s/x", "ttrpc"), Endpoint{3, "unix:///s/x", "ttrpc"}},
		{"JSON to a new daemon", DialectBootstrap, `{"version":3,"address":"unix:///s/x","protocol":"ttrpc"}`, Endpoint{3, "unix:///s/x", "ttrpc"}},
		{"bare to a new daemon", DialectBootstrap, "unix:///s/x\n", v2},
		{"version 4", DialectBootstrap, result(t, 4, "unix:///s/x", "ttrpc"), Endpoint{}},
		{"empty result", DialectBootstrap, "", Endpoint{}},
		{"no dialect", Dialect(9), "unix:///s/x", Endpoint{}},
	} {
		got, err := ParseAnswer(tt.dialect, []byte(tt.out))
		switch {
		case tt.want == Endpoint{}:
			if !errors.Is(err, ErrAnswer) {
				t.Errorf("%s: %+v, %v, want a refusal", tt.name, got, err)
			}
		case err != nil || got != tt.want:
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add(1, []byte("unix:///s/x"))
	f.Add(2, []byte(`{"version":2,"address":"unix:///s/x","protocol":"ttrpc"}`))
	f.Add(3, []byte(result(f, 3, "unix:///s/x", "ttrpc")))
	f.Fuzz(func(t *testing.T, d int, out []byte) {
		e, err := ParseAnswer(Dialect(d), out)
		if err == nil && (e.path() == "" || !filepath.IsAbs(e.path())) {
			t.Errorf("took %q for %+v", out, e)
		}
	})
}

func TestARestartedDaemonFindsTheShimByItsFiles(t *testing.T) {
	b, err := NewBundle(t.TempDir(), "", "ns", "c", []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range Dialects() {
		if e, err := loadEndpoint(d, b); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v, no file: %+v, %v", d, e, err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.Path, "address"), []byte("unix:///by/address"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range Dialects() {
		if e, err := loadEndpoint(d, b); err != nil || e != (Endpoint{2, "unix:///by/address", "ttrpc"}) {
			t.Errorf("%v, address: %+v, %v", d, e, err)
		}
	}
	if err := (Endpoint{3, "unix:///by/json", "ttrpc"}).save(b); err != nil {
		t.Fatal(err)
	}
	if e, err := loadEndpoint(DialectBootstrap, b); err != nil || e != (Endpoint{3, "unix:///by/json", "ttrpc"}) {
		t.Errorf("bootstrap.json: %+v, %v", e, err)
	}
	if e, err := loadEndpoint(DialectAddress, b); err != nil || e.Address != "unix:///by/address" {
		t.Errorf("an old daemon: %+v, %v", e, err)
	}
}
