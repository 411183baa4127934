package mux

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
)

// Socket is a connection that can be closed for writing alone.
type Socket interface {
	net.Conn
	CloseWrite() error
}

// errReset is the error of a stream that the other end has reset.
var errReset = errors.New("the other end has closed the connection")

// flushLimit is how long what came before a reset has to get through.
const flushLimit = 5 * time.Second

// Carry connects a stream with a socket, both ways, until both directions have
// ended or one has failed, or the other end has reset the stream: who hangs at
// the socket's other end holds up nobody for long. It closes the socket.
func (s *Stream) Carry(ctx context.Context, socket Socket) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() { _ = socket.Close() }()
	defer context.AfterFunc(ctx, func() { _ = socket.Close() })()
	s.onReset(func() { _ = socket.SetWriteDeadline(time.Now().Add(flushLimit)) })
	sent := make(chan error, 1)
	go func() { // ends with the socket or the stream
		readErr, sendErr := s.Copy(ctx, socket)
		switch {
		case sendErr != nil:
			sent <- sendErr
		case errors.Is(readErr, io.EOF):
			sent <- s.Send(ctx, &frame.Frame{End: true})
		default:
			sent <- readErr
		}
		// A failure ends the other direction, too.
		if sendErr != nil || !errors.Is(readErr, io.EOF) {
			cancel(errReset)
		}
	}()
	err := s.receive(ctx, socket)
	if err != nil {
		cancel(err)
	}
	return errors.Join(err, <-sent)
}

// receive writes what comes to the socket, until the end.
func (s *Stream) receive(ctx context.Context, socket Socket) error {
	for {
		f, err := s.Next(ctx)
		if err != nil {
			return err
		}
		switch {
		case len(f.Data) > 0:
			if _, err := socket.Write(f.Data); err != nil {
				return err
			}
			if err := s.Took(ctx, f); err != nil {
				return err
			}
		case f.End:
			return socket.CloseWrite()
		case f.Reset, f.Error != nil, f.Exit != nil:
			return errReset
		}
	}
}
