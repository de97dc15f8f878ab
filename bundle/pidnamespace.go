package bundle

import (
	"encoding/json"
	"fmt"
)

// OwnPidNamespace reports whether an OCI spec gives the container a pid
// namespace of its own. Where it does not, the kernel does not end the
// container's processes together with its init.
func OwnPidNamespace(config []byte) (bool, error) {
	var spec struct {
		Linux struct {
			Namespaces []struct {
				Type string `json:"type"`
				Path string `json:"path"`
			} `json:"namespaces"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(config, &spec); err != nil {
		return false, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == "pid" {
			return ns.Path == "", nil
		}
	}
	return false, nil
}
