// Package engine is the little of the Docker Engine's API that the stand-in
// needs to run real containers, over its unix socket. It has no connection pool,
// no retries and no deadlines of its own: a call ends with its context.
package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// version is the API that Docker Engine 20.10 and newer speak.
const version = "/v1.41"

// DefaultSocket is where the engine listens unless DOCKER_HOST says otherwise.
const DefaultSocket = "/var/run/docker.sock"

// Client speaks to one engine.
type Client struct {
	socket string
	http   *http.Client
}

// New makes a client for the engine at a host such as unix:///var/run/docker.sock,
// or at [DefaultSocket] for an empty one.
func New(host string) *Client {
	c := &Client{socket: strings.TrimPrefix(host, "unix://")}
	if c.socket == "" {
		c.socket = DefaultSocket
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	}
	c.http = &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}
	return c
}

// Close ends the connections that no call uses.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Error is the engine's refusal.
type Error struct {
	Status  int // HTTP
	Message string
}

func (e *Error) Error() string { return e.Message }

// NotFound tells whether the engine said that there is no such thing.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// Call makes one call. In is sent as JSON, unless it is an io.Reader, a tar
// archive; out receives the answer's JSON, unless it is nil.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	body, err := c.Stream(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, body)
		return err
	}
	return json.NewDecoder(body).Decode(out)
}

// Stream is [Client.Call] for an answer that is read as it comes. The caller
// closes it.
func (c *Client) Stream(ctx context.Context, method, path string, query url.Values, in any) (io.ReadCloser, error) {
	request, err := c.request(ctx, method, path, query, in)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		defer response.Body.Close()
		return nil, refusal(response)
	}
	return response.Body, nil
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, in any) (*http.Request, error) {
	var body io.Reader
	contentType := "application/json"
	switch in := in.(type) {
	case nil:
	case io.Reader:
		body, contentType = in, "application/x-tar"
	default:
		encoded, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	target := url.URL{Scheme: "http", Host: "docker", Path: version + path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", contentType)
	}
	return request, nil
}

func refusal(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err != nil {
		return err
	}
	var answer struct{ Message string }
	if json.Unmarshal(text, &answer) != nil || answer.Message == "" {
		answer.Message = string(bytes.TrimSpace(text))
	}
	return &Error{Status: response.StatusCode, Message: answer.Message}
}

// Hijack makes a call whose connection becomes a stream in both directions.
func (c *Client) Hijack(ctx context.Context, path string, in any) (*Conn, error) {
	request, err := c.request(ctx, http.MethodPost, path, nil, in)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "tcp")
	raw, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, err
	}
	conn, ok := raw.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is no unix socket", c.socket), raw.Close())
	}
	reader, err := upgrade(conn, request)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Conn{UnixConn: conn, reader: reader}, nil
}

// upgrade sends the request and reads the head of the answer. What follows is the
// stream.
func upgrade(conn net.Conn, request *http.Request) (*bufio.Reader, error) {
	if err := request.Write(conn); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusBadRequest {
		return nil, refusal(response)
	}
	return reader, nil
}

// Conn is a hijacked connection. CloseWrite ends what the other side reads.
type Conn struct {
	*net.UnixConn
	reader *bufio.Reader
}

// Read reads what the engine sends, from its first byte.
func (c *Conn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// Demultiplex copies an engine's stream of frames to the output that each is
// for, until it ends.
func Demultiplex(from io.Reader, stdout, stderr io.Writer) error {
	var header [8]byte
	for {
		if _, err := io.ReadFull(from, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		to := stdout
		if header[0] == 2 {
			to = stderr
		}
		size := int64(header[4])<<24 | int64(header[5])<<16 | int64(header[6])<<8 | int64(header[7])
		if _, err := io.CopyN(to, from, size); err != nil {
			return err
		}
	}
}
