package runc

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What an image says of itself is anybody's: it is options, or no image.
func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"tcpEstablished":true}`))
	f.Add([]byte(`{"ImagePath":"/elsewhere"}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir, err := os.MkdirTemp("/dev/shm", "holdfast") // files cost little there
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for name, b := range map[string][]byte{inventory: nil, madeWith: text} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		o, err := OpenImage(dir)
		if err != nil {
			if !errors.Is(err, ErrImage) {
				t.Errorf("an error of no kind: %v", err)
			}
			return
		}
		if o.ImagePath != dir {
			t.Errorf("the image leads elsewhere: %q", o.ImagePath)
		}
		// Written and read again it is the same.
		again := filepath.Join(dir, "again")
		was := o
		o.ImagePath = again
		if _, err := MakeImage(&o); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(again, inventory), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := OpenImage(again)
		got.ImagePath = was.ImagePath
		if err != nil || !reflect.DeepEqual(got, was) {
			t.Errorf("%+v became %+v, %v", was, got, err)
		}
	})
}
