package bundle

import (
	"fmt"
	"strings"
)

// WriteAddress writes down where the shim of this bundle listens, as
// "unix:///path".
func WriteAddress(dir, address string) error {
	return write(dir, AddressFile, []byte(address))
}

// ReadAddress returns what [WriteAddress] or containerd's own shim wrote.
func ReadAddress(dir string) (string, error) {
	b, err := read(dir, AddressFile, small)
	if err != nil {
		return "", fmt.Errorf("read the shim's address: %w", err)
	}
	address := strings.TrimSpace(string(b))
	if address == "" {
		return "", fmt.Errorf("read the shim's address: %w: %s in %s is empty", ErrCorrupt, AddressFile, dir)
	}
	return address, nil
}
