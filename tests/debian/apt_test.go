package debian

import "testing"

func TestMirrorIsTheArchivesOwn(t *testing.T) {
	for _, c := range []struct{ repositories, want string }{
		{"http://mirror.example/debian-security/\nhttp://mirror.example/debian/\n", "http://mirror.example/debian/"},
		{"https://mirror.example/pub/debian\n", "https://mirror.example/pub/debian"},
		{"http://security.example/debian/\nhttp://archive.example/ubuntu/\n", ""},
		{"debian\n\n", ""},
	} {
		got, ok := debianMirror(c.repositories)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, %v", c.repositories, got, ok)
		}
	}
}
