package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Bundles lists the bundles that are under state now, as <state>/<namespace>/<id>,
// sorted by namespace and id. A state that is not there has none. What is hidden
// is being removed and is left out.
func Bundles(state string) ([]*Bundle, error) {
	var found []*Bundle
	namespaces, err := directories(state)
	if err != nil {
		return nil, fmt.Errorf("list bundles: %w", err)
	}
	for _, namespace := range namespaces {
		ids, err := directories(state + "/" + namespace)
		if err != nil {
			return nil, fmt.Errorf("list bundles: %w", err)
		}
		for _, id := range ids {
			b, err := FindBundle(state, namespace, id)
			if err != nil {
				return nil, err
			}
			found = append(found, b)
		}
	}
	return found, nil
}

// directories are the names of those in dir that are not hidden, sorted; none
// if dir is not there, or has just gone.
func directories(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Look connects to the shim of the bundle beside the daemon that it belongs to:
// nothing is taken that is the daemon's, such as the log. The shim is not asked for
// anything yet. The error is [fs.ErrNotExist] or ECONNREFUSED when there is no shim.
func (b *Bundle) Look() (*Shim, error) {
	endpoint, err := loadEndpoint(DialectBootstrap, b)
	if err != nil {
		return nil, err
	}
	s, err := connect(b, endpoint, nil)
	if err != nil {
		return nil, fmt.Errorf("connect to shim: %w", err)
	}
	return s, nil
}
