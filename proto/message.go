package proto

// Message is what every generated message can do.
type Message interface {
	// Marshal encodes the message into a buffer of its own.
	Marshal() ([]byte, error)
	// MarshalTo encodes into the start of b, which must hold Size bytes, and
	// returns how many it wrote.
	MarshalTo(b []byte) (int, error)
	// Size is the length of the encoding in bytes.
	Size() int
	// Unmarshal merges what b encodes into the message. It keeps nothing of b.
	// After an error the message holds part of it.
	Unmarshal(b []byte) error
	// Reset makes the message empty.
	Reset()
	// TypeURL is the full name of the message's type.
	TypeURL() string
}
