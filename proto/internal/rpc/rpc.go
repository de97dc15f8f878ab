package rpc

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/holdfast-shim/holdfast/proto"
)

const (
	// maxAnswer is the most bytes that an answer may encode to: ttrpc's limit for
	// a message, 4 MiB, less what it puts around it.
	maxAnswer = 4<<20 - 64
	// maxText is about the most bytes of an error's text: more than anybody reads,
	// and far from that limit.
	maxText = 32 << 10
)

// pointer is a *T that is a message.
type pointer[T any] interface {
	*T
	proto.Message
}

// Method gives ttrpc a function that serves one method.
//
// ttrpc drops the whole connection, with every call on it, when it cannot encode
// what a method answers. So an answer that is nil or too long becomes an error
// here, and an error's text is made valid UTF-8 and not too long either.
func Method[Req, Resp any, PReq pointer[Req], PResp pointer[Resp]](call func(context.Context, PReq) (PResp, error)) ttrpc.Method {
	return func(ctx context.Context, unmarshal func(any) error) (any, error) {
		req := PReq(new(Req))
		if err := unmarshal(proto.Wire(req)); err != nil {
			// To ttrpc it is an internal error, but it is the caller's.
			return nil, encodable(status.Errorf(codes.InvalidArgument, "request %s: %s", req.TypeURL(), status.Convert(err).Message()))
		}
		resp, err := call(ctx, req)
		if err != nil {
			return nil, encodable(err)
		}
		if resp == nil {
			return nil, status.Errorf(codes.Internal, "answer %s: nil", resp.TypeURL())
		}
		if size := resp.Size(); size > maxAnswer {
			return nil, status.Errorf(codes.ResourceExhausted, "answer %s: %d bytes, more than %d", resp.TypeURL(), size, maxAnswer)
		}
		return proto.Wire(resp), nil
	}
}

// Call calls one method. Errors are ttrpc's: a status with a gRPC code when the
// other side answered one.
func Call(ctx context.Context, c *ttrpc.Client, service, method string, req, resp proto.Message) error {
	return c.Call(ctx, service, method, proto.Wire(req), proto.Wire(resp))
}

// encodable returns err itself unless its text must change; then what is left of it
// is a status with the same code.
func encodable(err error) error {
	st := status.Convert(err)
	text := st.Message()
	if len(text) <= maxText && utf8.ValidString(text) {
		return err
	}
	if cut := len(text) - maxText; cut > 0 {
		// What was asked for is at its beginning, and why it failed at its end.
		text = fmt.Sprintf("%s… (%d bytes left out) …%s", text[:maxText/2], cut, text[len(text)-maxText/2:])
	}
	return status.Error(st.Code(), strings.ToValidUTF8(text, "\uFFFD"))
}
