package stdio

import (
	"errors"
	"slices"
	"testing"
)

func TestLoggersArgumentsAreItsQuery(t *testing.T) {
	for query, want := range map[string][]string{
		"":                         nil,
		"?":                        nil,
		"?-c=echo%20a+b%26c":       {"-c", "echo a b&c"},
		"?b=1&a=2&c=3":             {"b", "1", "a", "2", "c", "3"}, // in their order
		"?flag":                    {"flag", ""},                   // containerd passes the empty value too
		"?k=1&&k=2&l=&=x":          {"k", "1", "l", "", "", "x"},   // and the first of each key only
		"?a=b;c=d":                 {"a", "b;c=d"},
		"?--to=/var/log/x%3Fy.log": {"--to", "/var/log/x?y.log"},
	} {
		for _, scheme := range []string{"binary", "binary-v2"} {
			got, err := parse(scheme + ":///usr/bin/log" + query)
			if err != nil || got.scheme != scheme || got.path != "/usr/bin/log" || !slices.Equal(got.args, want) {
				t.Errorf("%s %q: %+v, %v, want the arguments %q", scheme, query, got, err, want)
			}
		}
	}
}

func TestOneLoggerTakesBothOutputsUnlessTheOtherIsNamed(t *testing.T) {
	const log, fifo = "binary:///log", "/fifo"
	for _, c := range []struct {
		p    Paths
		want [2]string
	}{
		{Paths{Stdout: log, Stderr: log}, [2]string{log, log}},
		{Paths{Stdout: log}, [2]string{log, log}},
		{Paths{Stdout: log, Stderr: fifo}, [2]string{log, fifo}},
		{Paths{Stderr: log}, [2]string{"", log}},
		{Paths{Stdout: fifo}, [2]string{fifo, ""}},
		{Paths{Stdout: log, Stderr: log, Terminal: true}, [2]string{log, ""}},
		{Paths{Stdout: fifo, Stderr: "no path at all", Terminal: true}, [2]string{fifo, ""}},
	} {
		if got := c.p.outputs(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
		if err := c.p.Check(); err != nil {
			t.Errorf("%+v: %v", c.p, err)
		}
	}
}

func FuzzPaths(f *testing.F) {
	for _, s := range []string{
		"", "/fifo", "file:///a/b", "://", "fifo:///x", "file://host/x",
		"binary:///x?a=b", "binary:///x?-c=echo%20%26&flag&&=&k=1&k=2", "binary-v2:///x?%zz", "binary-v2:x", "binary:///x?a=%00", "BINARY:///x",
	} {
		f.Add(s, s, s, true)
		f.Add("", s, s, false)
	}
	f.Fuzz(func(t *testing.T, in, out, errp string, terminal bool) {
		p := Paths{Stdin: in, Stdout: out, Stderr: errp, Terminal: terminal}
		err := p.Check()
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%v is not ErrInvalid", err)
			}
			return
		}
		for _, path := range p.outputs() {
			if path == "" {
				continue
			}
			got, err := parse(path)
			switch {
			case err != nil:
				t.Errorf("%q passed the check, but: %v", path, err)
			case len(got.args)%2 != 0:
				t.Errorf("%q: a key without value in %q", path, got.args)
			case !got.isLogger() && got.args != nil:
				t.Errorf("%q: arguments for a %s", path, got.scheme)
			}
		}
	})
}
