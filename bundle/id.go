package bundle

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// ErrInvalidID says that an id cannot be part of a file name or a command line.
var ErrInvalidID = errors.New("invalid id")

// MaxID is the longest id in bytes. A file name has at most 255 (NAME_MAX); the
// rest is for what the shim and the OCI runtime put around an id.
const MaxID = 255 - 16

// ValidID reports whether a container's or an exec's id can safely become part
// of a file name and an argument of the OCI runtime: [ErrInvalidID] with the
// reason, or nil. It lets through all that containerd's identifiers allow, and
// more: what an id should look like is containerd's business.
func ValidID(id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: empty", ErrInvalidID)
	case len(id) > MaxID:
		return fmt.Errorf("%w: %d bytes, at most %d are possible", ErrInvalidID, len(id), MaxID)
	case id == "." || id == "..":
		return fmt.Errorf("%w: %q is a directory's own name", ErrInvalidID, id)
	case id[0] == '-':
		return fmt.Errorf("%w: %q would be read as an option by the OCI runtime", ErrInvalidID, id)
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: %q is not UTF-8", ErrInvalidID, id)
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; c == '/' || c < ' ' || c == 0x7f {
			return fmt.Errorf("%w: %q contains %q", ErrInvalidID, id, c)
		}
	}
	return nil
}
