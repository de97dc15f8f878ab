package proto

import (
	"fmt"

	"github.com/holdfast-shim/holdfast/proto/wkt"
)

// TypeError says that an Any holds another type than the one wanted.
type TypeError struct{ Got, Want string }

func (e *TypeError) Error() string {
	return fmt.Sprintf("unpack any: holds %q, not %q", e.Got, e.Want)
}

// Pack encodes m into an Any that names its type.
func Pack(m Message) (*wkt.Any, error) {
	b, err := m.Marshal()
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", m.TypeURL(), err)
	}
	return &wkt.Any{TypeUrl: m.TypeURL(), Value: b}, nil
}

// Unpack decodes a into m, which is emptied first. It fails with a *TypeError when
// a names another type; a nil Any names none.
func Unpack(a *wkt.Any, m Message) error {
	if !a.Is(m.TypeURL()) {
		got := ""
		if a != nil {
			got = a.TypeUrl
		}
		return &TypeError{Got: got, Want: m.TypeURL()}
	}
	m.Reset()
	if err := m.Unmarshal(a.Value); err != nil {
		return fmt.Errorf("unpack %s: %w", m.TypeURL(), err)
	}
	return nil
}
