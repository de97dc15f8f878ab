package runc

import (
	"strings"
	"testing"
)

func TestEndsKeepTheBeginningAndTheEnd(t *testing.T) {
	for _, test := range []struct {
		text string
		want string
	}{
		{"", ""},
		{"ab", "ab"},
		{"abcd", "abcd"},
		{"abcdefg", "abcdefg"},
		{"abcdefgh", "abcd…fgh"},
		{strings.Repeat("abcdefgh", 100), "abcd…fgh"},
	} {
		for _, size := range []int{1, 2, 3, 5, 1000} {
			e := ends{headMax: 4, tailMax: 3}
			for rest := test.text; rest != ""; {
				k := min(size, len(rest))
				if n, err := e.Write([]byte(rest[:k])); n != k || err != nil {
					t.Fatal(n, err)
				}
				rest = rest[k:]
			}
			if got := e.String(); got != test.want || e.total != int64(len(test.text)) || e.cut() != (test.want != test.text) {
				t.Errorf("%.20q in pieces of %d: %q, %d bytes, cut: %t; want %q", test.text, size, got, e.total, e.cut(), test.want)
			}
			if cap(e.head)+cap(e.tail) > 64 {
				t.Errorf("%d bytes are held", cap(e.head)+cap(e.tail))
			}
		}
	}
}
