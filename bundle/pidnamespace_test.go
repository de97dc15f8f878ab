package bundle

import (
	"errors"
	"testing"
)

func TestOwnPidNamespace(t *testing.T) {
	for config, want := range map[string]bool{
		`{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}`:        true,
		`{"linux":{"namespaces":[{"type":"pid","path":"/proc/7/ns/pid"}]}}`: false,
		`{"linux":{"namespaces":[{"type":"mount"}]}}`:                       false,
		`{}`: false,
	} {
		if got, err := OwnPidNamespace([]byte(config)); got != want || err != nil {
			t.Errorf("%s: %v, %v", config, got, err)
		}
	}
	if _, err := OwnPidNamespace([]byte("[")); !errors.Is(err, ErrConfig) {
		t.Errorf("half a document: %v", err)
	}
}
