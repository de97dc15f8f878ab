package bootstrap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-shim/holdfast/proto/task"
)

var (
	// ErrHung says that a shim holds its socket but does not answer.
	ErrHung = errors.New("shim does not answer")
	// ErrForeign says that something else than a shim of ours listens.
	ErrForeign = errors.New("not a shim that may be trusted")

	// errLost says that the other side went away instead of answering.
	errLost = errors.New("connection lost")
)

// The frame of ttrpc 1.2 (its PROTOCOL.md): a big-endian header of length (4
// bytes), stream (4), type and flags (1 each), then a protobuf message.
const (
	frameHeader  = 10
	maxFrame     = 4 << 20
	typeRequest  = 1
	typeResponse = 2
)

const codeUnimplemented = 12 // of gRPC

// ask finds out whether a shim lives behind conn by a call whose answer does not
// matter, and which version of the Task API it serves: prefer if it does, else
// the other of 2 and 3. Anything that answers lives. It takes conn over.
//
// This speaks ttrpc by hand since the library logs to stderr when the other
// side says something odd, and stderr is part of start's answer.
func ask(conn *os.File, prefer int, id string, deadline time.Time) (version int, err error) {
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		return 0, fmt.Errorf("ask the shim: %w", err)
	}
	payload, err := (&task.ConnectRequest{Id: id}).Marshal()
	if err != nil {
		return 0, fmt.Errorf("ask the shim: %w", err)
	}
	stream := uint32(1) // a client's are odd
	for _, version := range [...]int{prefer, 5 - prefer} {
		service := task.ServiceV3
		if version == 2 {
			service = task.ServiceV2
		}
		code, err := call(conn, stream, service, "Connect", payload, time.Until(deadline))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return 0, ErrHung
		case err != nil:
			return 0, err
		case code != codeUnimplemented:
			return version, nil
		}
		stream += 2
	}
	return 0, fmt.Errorf("%w: it does not serve the Task API", ErrForeign)
}

// call makes one unary call and returns the gRPC code of the answer.
func call(conn io.ReadWriter, stream uint32, service, method string, payload []byte, timeout time.Duration) (code uint64, err error) {
	msg := make([]byte, frameHeader, 128)
	msg = protowire.AppendString(protowire.AppendTag(msg, 1, protowire.BytesType), service)
	msg = protowire.AppendString(protowire.AppendTag(msg, 2, protowire.BytesType), method)
	msg = protowire.AppendBytes(protowire.AppendTag(msg, 3, protowire.BytesType), payload)
	msg = protowire.AppendVarint(protowire.AppendTag(msg, 4, protowire.VarintType), uint64(max(timeout, 1)))
	binary.BigEndian.PutUint32(msg, uint32(len(msg)-frameHeader))
	binary.BigEndian.PutUint32(msg[4:], stream)
	msg[8] = typeRequest
	if _, err := conn.Write(msg); err != nil {
		return 0, lost(err)
	}

	var header [frameHeader]byte
	if _, err := io.ReadFull(conn, header[:]); err != nil {
		return 0, lost(err)
	}
	size := binary.BigEndian.Uint32(header[:])
	if size > maxFrame || binary.BigEndian.Uint32(header[4:]) != stream || header[8] != typeResponse {
		return 0, fmt.Errorf("%w: it does not speak ttrpc", ErrForeign)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(conn, body); err != nil {
		return 0, lost(err)
	}
	return responseCode(body)
}

// responseCode returns the code in the status of a ttrpc Response; 0 when it has none.
func responseCode(body []byte) (uint64, error) {
	status, err := field(body, 1, protowire.BytesType)
	if status == nil || err != nil {
		return 0, err
	}
	inner, n := protowire.ConsumeBytes(status)
	if n < 0 {
		return 0, fmt.Errorf("%w: %w", ErrForeign, protowire.ParseError(n))
	}
	number, err := field(inner, 1, protowire.VarintType)
	if number == nil || err != nil {
		return 0, err
	}
	code, n := protowire.ConsumeVarint(number)
	if n < 0 {
		return 0, fmt.Errorf("%w: %w", ErrForeign, protowire.ParseError(n))
	}
	return code, nil
}

// field returns msg from the value of the first field want on; nil when there
// is none.
func field(msg []byte, want protowire.Number, wantType protowire.Type) ([]byte, error) {
	for len(msg) > 0 {
		number, typ, n := protowire.ConsumeTag(msg)
		if n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrForeign, protowire.ParseError(n))
		}
		msg = msg[n:]
		if number == want && typ == wantType {
			return msg, nil
		}
		if n = protowire.ConsumeFieldValue(number, typ, msg); n < 0 {
			return nil, fmt.Errorf("%w: %w", ErrForeign, protowire.ParseError(n))
		}
		msg = msg[n:]
	}
	return nil, nil
}

// lost maps the errors of a connection whose other side has gone to errLost.
func lost(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return errLost
	}
	return err
}
