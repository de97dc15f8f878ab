package bundle

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// WriteAddress writes down where the shim of this bundle listens, as
// "unix:///path".
func WriteAddress(dir, address string) error {
	return write(dir, AddressFile, []byte(address))
}

// ReadAddress returns where the shim of this bundle listens: what
// [WriteAddress] or containerd's own shim wrote, or, if that is not there, what
// containerd wrote down of the shim's answer.
func ReadAddress(dir string) (string, error) {
	b, err := read(dir, AddressFile, small)
	if errors.Is(err, fs.ErrNotExist) {
		return readBootstrap(dir)
	}
	if err != nil {
		return "", fmt.Errorf("read the shim's address: %w", err)
	}
	address := strings.TrimSpace(string(b))
	if address == "" {
		return "", fmt.Errorf("read the shim's address: %w: %s in %s is empty", ErrCorrupt, AddressFile, dir)
	}
	return address, nil
}

func readBootstrap(dir string) (string, error) {
	b, err := read(dir, BootstrapFile, small)
	if err != nil {
		return "", fmt.Errorf("read the shim's address: %w", err)
	}
	var answer struct {
		Address string `json:"address"`
	}
	if err := json.Unmarshal(b, &answer); err != nil || answer.Address == "" {
		return "", fmt.Errorf("read the shim's address: %w: %s in %s names none", ErrCorrupt, BootstrapFile, dir)
	}
	return answer.Address, nil
}
