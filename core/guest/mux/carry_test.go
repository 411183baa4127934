package mux_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/mux"
)

// socket is one end of a connection that holds nothing on its way.
type socket struct{ net.Conn }

func (socket) CloseWrite() error { return nil }

// carried is a stream that is connected with a server; over gets how that ended.
func carried(t *testing.T) (stream *mux.Stream, server net.Conn, over chan error) {
	t.Helper()
	near, server := net.Pipe()
	over = make(chan error, 1)
	stream, err := pair(t, func(s *mux.Stream, _ *frame.Open) {
		over <- s.Carry(context.Background(), socket{near})
		s.Forget()
	}).Open(t.Context(), &frame.Open{Dial: "127.0.0.1:80"})
	if err != nil {
		t.Fatal(err)
	}
	return stream, server, over
}

// A server that hangs, and takes nothing, keeps nobody whose connection was
// reset.
func TestAResetConnectionLeavesAServerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream, server, over := carried(t)
		if err := stream.Write(t.Context(), []byte("GET / HTTP/1.0\r\n\r\n"), false); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it is being written to the server
		if err := stream.Send(t.Context(), &frame.Frame{Reset: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		select {
		case err := <-over:
			if err == nil {
				t.Error("it ended well")
			}
		default:
			t.Error("the connection is still carried")
		}
		if _, err := io.ReadAll(server); err != nil {
			t.Errorf("the server's end: %v", err)
		}
	})
}

// What was sent before the reset reaches a server that is slow.
func TestWhatCameBeforeAResetIsDelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream, server, over := carried(t)
		for _, text := range []string{"one ", "two ", "three"} {
			if err := stream.Write(t.Context(), []byte(text), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := stream.Send(t.Context(), &frame.Frame{Reset: true}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if text, err := io.ReadAll(server); string(text) != "one two three" || err != nil {
			t.Errorf("%q, %v", text, err)
		}
		<-over
	})
}
