package bootstrap

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// put writes to a standard stream. If nobody reads it any more that is an error
// like any other, whereas package os ends the process then, in the middle of
// its work. (To catch the signal would cost start a thread; to ignore it would
// make programs that we start ignore it too.)
func put(w io.Writer, b []byte) error {
	f, ok := w.(*os.File)
	if !ok {
		_, err := w.Write(b)
		return err
	}
	fd := int(f.Fd()) // which makes it blocking
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}
