package frame

// A frame is a header and a body: 4 bytes that tell the body's length, big
// endian, 4 of the stream's number, the type and the flags.
const (
	headerLength = 10
	lengthBytes  = 4
	typeByte     = 8

	typeData    = 3
	typeUnknown = 0 // ttrpc passes over frames of a type it does not know, for what may come
)

// headers follows the frames in a stream of bytes that comes in pieces.
type headers struct {
	at     int    // bytes of the present header that were seen
	length uint32 // of the body: while at is 0, what of it is still to come
}

// pass changes the frames of data in p, the next piece of the stream, into such
// as nobody knows, and reports whether a header ended in p.
func (h *headers) pass(p []byte) (whole bool) {
	for len(p) > 0 {
		if h.at == 0 && h.length > 0 {
			n := uint32(min(uint64(h.length), uint64(len(p))))
			h.length -= n
			p = p[n:]
			continue
		}
		switch {
		case h.at < lengthBytes:
			h.length = h.length<<8 | uint32(p[0])
		case h.at == typeByte && p[0] == typeData:
			p[0] = typeUnknown
		}
		if h.at++; h.at == headerLength {
			h.at, whole = 0, true
		}
		p = p[1:]
	}
	return whole
}
