package docker

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/encoding/protowire"
)

// session is what BuildKit wants of who builds: somebody to ask for the
// passwords of registries. This one has none, so that images are pulled as an
// anonymous user. It ends with the function that it returns.
func session(ctx context.Context, c *connection) (id string, end func(), err error) {
	id = strings.ToLower(rand.Text())
	conn, err := c.DialHijack(ctx, "/session", "h2c", map[string][]string{
		"X-Docker-Expose-Session-Uuid": {id},
		"X-Docker-Expose-Session-Name": {"sero"},
		"X-Docker-Expose-Session-Grpc-Method": {
			grpc_health_v1.Health_Check_FullMethodName,
		},
	})
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	served := make(chan struct{})
	only := &oneConn{conn: conn, closed: make(chan struct{})}
	go func() {
		defer close(served)
		_ = server.Serve(only) // until it is stopped
	}()
	return id, func() {
		server.Stop()
		_ = conn.Close()
		<-served
	}, nil
}

// oneConn is a listener with one connection, which is there already.
type oneConn struct {
	conn   net.Conn
	given  sync.Once
	close  sync.Once
	closed chan struct{}
}

// Accept gives the connection once, and then waits for Close.
func (l *oneConn) Accept() (conn net.Conn, err error) {
	l.given.Do(func() { conn = l.conn })
	if conn != nil {
		return conn, nil
	}
	<-l.closed
	return nil, io.EOF
}

// Close ends Accept.
func (l *oneConn) Close() error {
	l.close.Do(func() { close(l.closed) })
	return nil
}

// Addr is the connection's.
func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// traceID marks BuildKit's own messages among an engine's.
const traceID = "moby.buildkit.trace"

// trace is what BuildKit tells of a build: its steps, by digest.
type trace struct {
	begun, ended map[string]bool
}

// The numbers of the fields of BuildKit's StatusResponse, Vertex and VertexLog
// that are read here.
const (
	statusVertex, statusLog                                 = 1, 3
	vertexDigest, vertexName, vertexStarted, vertexFinished = 1, 3, 5, 6
	logText                                                 = 4
)

// lines are what a message has for people: steps that begin, and what they write.
func (t *trace) lines(aux json.RawMessage) []string {
	var status []byte // base64 in JSON
	if json.Unmarshal(aux, &status) != nil {
		return nil
	}
	var lines []string
	fields(status, func(number protowire.Number, value []byte) {
		switch number {
		case statusVertex:
			vertex := map[protowire.Number]string{}
			fields(value, func(n protowire.Number, v []byte) { vertex[n] = string(v) })
			digest := vertex[vertexDigest]
			if vertex[vertexStarted] != "" && !t.begun[digest] {
				t.begun[digest] = true
				lines = append(lines, vertex[vertexName])
			}
			if vertex[vertexFinished] != "" {
				t.ended[digest] = true
			}
		case statusLog:
			fields(value, func(n protowire.Number, v []byte) {
				if n == logText {
					lines = append(lines, strings.Split(strings.TrimRight(string(v), "\n"), "\n")...)
				}
			})
		default:
		}
	})
	return lines
}

// fields calls each for every field of a message that has bytes; what is broken
// ends it.
func fields(message []byte, each func(protowire.Number, []byte)) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return
		}
		message = message[n:]
		if kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return
			}
			each(number, value)
			message = message[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return
		}
		message = message[n:]
	}
}
