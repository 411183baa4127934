package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// detailed adds the ErrorDetail to errors that net/http and Connect answer with
// before any interceptor runs: an unknown procedure, a method, content type or
// HTTP version that does not fit, a unary message that cannot be read.
func detailed(next http.Handler) http.Handler {
	errorWriter := connect.NewErrorWriter()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		held := &errorHolder{ResponseWriter: w}
		next.ServeHTTP(held, r)
		switch {
		case held.status == 0:
		case held.hasDetail():
			w.WriteHeader(held.status)
			_, _ = w.Write(held.body.Bytes())
		default:
			w.Header().Del("Content-Length")
			_ = errorWriter.Write(w, r, connectError(held.err(r))) // a client that is gone needs no answer
		}
	})
}

// errorHolder passes a response through, unless its status is an error: then it
// holds the status and the body, which are small.
type errorHolder struct {
	http.ResponseWriter
	status int // of an error, or zero
	body   bytes.Buffer
}

// WriteHeader implements [http.ResponseWriter].
func (h *errorHolder) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		h.ResponseWriter.WriteHeader(status)
		return
	}
	h.status = status
}

// Write implements [http.ResponseWriter].
func (h *errorHolder) Write(p []byte) (int, error) {
	if h.status == 0 {
		return h.ResponseWriter.Write(p)
	}
	return h.body.Write(p)
}

// Flush implements [http.Flusher].
func (h *errorHolder) Flush() {
	if h.status == 0 {
		_ = http.NewResponseController(h.ResponseWriter).Flush() // a client that is gone
	}
}

// Unwrap gives [http.ResponseController] the connection's own writer.
func (h *errorHolder) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// wireError is the part of a Connect error's JSON that says what it is about.
type wireError struct {
	Code    string            `json:"code"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

func (h *errorHolder) wire() wireError {
	var e wireError
	_ = json.Unmarshal(h.body.Bytes(), &e) // other bodies have none of it
	return e
}

func (h *errorHolder) hasDetail() bool { return len(h.wire().Details) > 0 }

// err returns the held error as one of sero's.
func (h *errorHolder) err(r *http.Request) error {
	procedure := brief.Text(r.URL.Path)
	switch h.status {
	case http.StatusNotFound:
		return driver.Errorf(driver.Unsupported, "this daemon has no procedure %s", procedure).
			Remedy("check the name; if a newer sero calls, end this daemon and the next command starts the newer one", "sero", "daemon", "stop")
	case http.StatusMethodNotAllowed:
		return driver.Errorf(driver.InvalidArgument, "procedures are called with POST, not %s", brief.Text(r.Method)).Remedy("send a POST request")
	case http.StatusHTTPVersionNotSupported:
		return driver.Errorf(driver.Unsupported, "%s sends both ways at once, which %s cannot", procedure, r.Proto).
			Remedy("connect with HTTP/2 without TLS, as curl does with --http2-prior-knowledge")
	case http.StatusUnsupportedMediaType:
		return driver.Errorf(driver.InvalidArgument, "%s does not take the content type %s", procedure, brief.Text(r.Header.Get("Content-Type"))).
			Remedy("send one of: " + strings.Join(h.Header().Values("Accept-Post"), ", "))
	}
	wire := h.wire()
	var code connect.Code
	if code.UnmarshalText([]byte(wire.Code)) != nil {
		return driver.Errorf(driver.Internal, "the daemon answered with %s", http.StatusText(h.status))
	}
	return asError(connect.NewError(code, errors.New(wire.Message)))
}

// strictJSON is Connect's JSON codec, but for fields that the API does not have:
// it refuses them, since a misspelled field that is ignored does something else
// than was asked for.
type strictJSON struct{ name string }

// jsonCodecs are the content types under which JSON comes.
func jsonCodecs() connect.HandlerOption {
	return connect.WithHandlerOptions(connect.WithCodec(strictJSON{"json"}), connect.WithCodec(strictJSON{"json; charset=utf-8"}))
}

var errNoMessage = errors.New("it is not a protobuf message")

// Name implements [connect.Codec].
func (c strictJSON) Name() string { return c.name }

// Marshal implements [connect.Codec].
func (c strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, errNoMessage
	}
	return protojson.Marshal(m)
}

// Unmarshal implements [connect.Codec].
func (c strictJSON) Unmarshal(data []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return errNoMessage
	}
	if len(data) == 0 {
		return errors.New("it is empty, where JSON needs at least {}")
	}
	return protojson.Unmarshal(data, m)
}
