package daemonclient

import (
	"context"
	"unicode/utf8"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// namesBadText is an interceptor that explains why a request could not be sent
// when a text in it is not UTF-8, which is all that protobuf carries. It looks at
// a request only after it has failed.
type namesBadText struct{}

// WrapUnary implements [connect.Interceptor].
func (namesBadText) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, req)
		return resp, explainText(err, req.Any())
	}
}

// WrapStreamingClient implements [connect.Interceptor].
func (namesBadText) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return textConn{next(ctx, spec)}
	}
}

// WrapStreamingHandler implements [connect.Interceptor].
func (namesBadText) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

type textConn struct{ connect.StreamingClientConn }

// Send implements [connect.StreamingClientConn].
func (c textConn) Send(message any) error {
	return explainText(c.StreamingClientConn.Send(message), message)
}

// explainText returns err, or InvalidArgument if the request has a text that is
// not UTF-8.
func explainText(err error, request any) error {
	m, ok := request.(proto.Message)
	if err == nil || !ok {
		return err
	}
	_ = protorange.Range(m.ProtoReflect(), func(p protopath.Values) error {
		text, ok := p.Index(-1).Value.Interface().(string)
		if !ok || utf8.ValidString(text) {
			return nil
		}
		err = badText(p, text)
		return protorange.Terminate
	})
	return err
}

// badText names the field of an invalid text. It shows the text unless it may be
// a secret.
func badText(p protopath.Values, text string) error {
	path := p.Path[1:].String() // without the message itself
	if path != "" && path[0] == '.' {
		path = path[1:]
	}
	e := &driver.Error{Reason: driver.InvalidArgument, Field: path, Message: path + " is not valid UTF-8"}
	if parent, ok := p.Index(-2).Value.Interface().(protoreflect.Message); !ok || parent.Descriptor().Name() != "EnvVar" {
		e.Message += ": " + brief.Text(text)
	}
	e.Remedies = []driver.Remedy{{Text: "sero passes on text in UTF-8 only; send other bytes as a file or on standard input"}}
	return e
}
