package runc

import (
	"encoding/json"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

func TestLastErrorOfALog(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	for _, test := range []struct{ name, log, want string }{
		{"empty", "", ""},
		{"runc's", `{"level":"error","msg":"container does not exist","time":"2026-01-02T03:04:05Z"}` + "\n", "container does not exist"},
		{"crun's", `{"msg":"the container ` + "`c1`" + ` is not running","level":"error","time":"2026-01-02T03:04:05.000000Z"}` + "\n", "the container `c1` is not running"},
		{"the last of several", `{"level":"error","msg":"first"}` + "\n" + `{"level":"error","msg":"second"}` + "\n", "second"},
		{"warnings behind it", `{"level":"error","msg":"it"}` + "\n" + `{"level":"warning","msg":"not it"}` + "\n" + `{"level":"info","msg":"nor this"}`, "it"},
		{"fatal and panic", `{"level":"fatal","msg":"a"}` + "\n" + `{"level":"panic","msg":"b"}`, "b"},
		{"no newline at the end", `{"level":"error","msg":"x"}`, "x"},
		{"white space around the message", `{"level":"error","msg":"\n No help topic for 'x'\n"}`, "No help topic for 'x'"},
		{"blanks", " { \"level\" : \"error\" ,\t\"msg\" : \"x\" } \r\n", "x"},
		{"other fields of every kind", `{"a":{"msg":"no","b":["}",{"level":"info"}]},"level":"error","n":-1.5e3,"t":true,"z":null,"msg":"x","e":[],"o":{}}`, "x"},
		{"the last of two fields", `{"level":"info","level":"error","msg":"a","msg":"b"}`, "b"},
		{"a message that is no string", `{"level":"error","msg":"x","msg":7}`, ""},
		{"escapes", `{"level":"error","msg":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0041!"}`, "\"\\/\b\f\n\r\té😀A!"},
		{"half a surrogate pair", `{"level":"error","msg":"a\ud83dz\ud83d\u0041"}`, "a\uFFFDz\uFFFDA"},
		{"garbage before", "garbage\n\x00\xff\n[1]\n\"x\"\n{\n}{\n" + `{"level":"error","msg":"x"}` + "\n", "x"},
		{"garbage behind", `{"level":"error","msg":"x"}` + "\ngarbage", "x"},
		{"garbage on the same line", `{"level":"error","msg":"x"} and more`, ""},
		{"a line cut short", `{"level":"error","msg":"x"}` + "\n" + `{"level":"error","msg":"y`, "x"},
		{"a newline in a string", `{"level":"error","msg":"y` + "\n" + `"}` + "\n" + `{"level":"error","msg":"x"}`, "x"},
		{"a long level", `{"level":"error error error error","msg":"x"}`, ""},
		{"a long key", `{"level":"error","msgmsgmsgmsg":"y","msg":"x"}`, "x"},
		{"a line longer than any buffer", `{"level":"error","junk":"` + long + `","msg":"x"}`, "x"},
		{"a message longer than is kept", `{"level":"error","msg":"begin` + long + `end"}`,
			("begin" + long)[:maxMessage/2] + "…" + long[len(long)-maxMessage/2+3:] + "end"},
		{"invalid UTF-8", "{\"level\":\"error\",\"msg\":\"a\xffb\"}", "a\uFFFDb"},
	} {
		for kind, r := range map[string]io.Reader{
			"whole":  strings.NewReader(test.log),
			"pieces": iotest.OneByteReader(strings.NewReader(test.log)),
		} {
			got, err := lastError(r)
			if err != nil || got != test.want {
				t.Errorf("%s, in %s: %.200q, %v; want %.200q", test.name, kind, got, err, test.want)
			}
		}
	}
}

func TestAnErrorWhileReadingTheLogIsPassedOn(t *testing.T) {
	r := io.MultiReader(strings.NewReader(`{"level":"error","msg":"x"}`+"\n"+`{"lev`), iotest.ErrReader(iotest.ErrTimeout))
	if got, err := lastError(r); err != iotest.ErrTimeout || got != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

// repeat is text without end, cut off after n bytes.
type repeat struct {
	text string
	n    int64
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.n <= 0 {
		return 0, io.EOF
	}
	n := 0
	for n+len(r.text) <= len(p) {
		n += copy(p[n:], r.text)
	}
	r.n -= int64(n)
	return n, nil
}

func TestAVeryLongLineCostsLittleMemory(t *testing.T) {
	for _, head := range []string{`{"level":"error","msg":"`, `{"level":"error","x":"`, `{"level":"error","x":`, ``} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := lastError(io.MultiReader(strings.NewReader(head), &repeat{"abcdefg[", 8 << 20})); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("a long line after %q allocated %d bytes", head, got)
		}
	}
}

// oracle is lastError as encoding/json would do it.
func oracle(log string) string {
	last := ""
	for line := range strings.SplitSeq(log, "\n") {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) != nil {
			continue
		}
		switch level, _ := m["level"].(string); level {
		case "error", "fatal", "panic":
			msg, _ := m["msg"].(string)
			last = strings.TrimSpace(msg)
		}
	}
	return last
}

// FuzzLog lets anything be a log: the scanner must come to an end with a short,
// valid message, and wherever encoding/json can read all lines, with its.
func FuzzLog(f *testing.F) {
	f.Add(`{"level":"error","msg":"container does not exist","time":"2026-01-02T03:04:05Z"}` + "\n")
	f.Add(`{"msg":"x\u00e9\ud83d\ude00","level":"error"}` + "\n" + `{"level":"warning","msg":"y","a":[1,{"b":"}"}]}`)
	f.Add("garbage\n{\"level\":\"error\",\"msg\":\"\xff\\u12\n{}{}[]\"\\")
	f.Add(`{"level":"error","msg":1,"msg":{"msg":"n"},"level":"error"}`)
	f.Fuzz(func(t *testing.T, log string) {
		got, err := lastError(strings.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.ValidString(got) || len(got) > 3*maxMessage {
			t.Fatalf("a message of %d bytes, valid UTF-8: %t", len(got), utf8.ValidString(got))
		}
		for line := range strings.SplitSeq(log, "\n") {
			if strings.TrimSpace(line) != "" && !json.Valid([]byte(line)) {
				return
			}
		}
		if utf8.ValidString(log) && len(log) < maxMessage {
			if want := oracle(log); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}
