package wkt

import "strings"

// Is reports whether m says that it carries a message of the type with this full
// name. Protobuf's own libraries put a host before the name and containerd does
// not; only what follows the last slash counts, as protobuf has it.
func (m *Any) Is(typeURL string) bool {
	return m != nil && m.TypeUrl[strings.LastIndexByte(m.TypeUrl, '/')+1:] == typeURL
}
