package frame

// A frame is a header and a body: 4 bytes that tell the body's length, big
// endian, 4 of the stream's number, the type and the flags.
const (
	headerLength = 10
	lengthBytes  = 4
	typeByte     = 8

	typeRequest  = 1
	typeResponse = 2
	typeData     = 3
	typeUnknown  = 0 // ttrpc passes over frames of a type it does not know, for what may come
)

// headers follows the frames in a stream of bytes that comes in pieces.
type headers struct {
	at     int    // bytes of the present header that were seen
	length uint32 // of the body: while at is 0, what of it is still to come
	kind   byte   // the type of the last header that was seen
	hide   bool   // make frames of data into such as nobody knows
}

// within reports whether the stream goes on in the midst of a frame.
func (h *headers) within() bool { return h.at > 0 || h.length > 0 }

// step goes on in p, the next piece of the stream, to the end of the next header
// or of p, whichever comes first. It returns how far that was and whether a header
// ended there. p is written to by none but a headers that hides data.
func (h *headers) step(p []byte) (n int, whole bool) {
	if h.at == 0 {
		n = int(min(uint64(h.length), uint64(len(p))))
		h.length -= uint32(n)
	}
	for ; n < len(p); n++ {
		switch {
		case h.at < lengthBytes:
			h.length = h.length<<8 | uint32(p[n])
		case h.at == typeByte:
			if h.kind = p[n]; h.hide && h.kind == typeData {
				p[n] = typeUnknown
			}
		}
		if h.at++; h.at == headerLength {
			h.at = 0
			return n + 1, true
		}
	}
	return n, false
}
