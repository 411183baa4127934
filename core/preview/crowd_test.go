package preview_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/loopback"
)

// TestA9PreviewsAreBounded opens far more slow requests than are carried: a bounded
// number gets through, the others are answered or closed at once, and another
// workspace's preview still works.
func TestA9PreviewsAreBounded(t *testing.T) {
	w := newWorld(t)
	hold := make(chan struct{})
	var mu sync.Mutex
	now, most := 0, 0
	s := w.serve(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		select {
		case <-hold:
		case <-r.Context().Done():
		}
		mu.Lock()
		now--
		mu.Unlock()
	})
	other := running("other", "web", s.Listener.Addr().String())
	w.put(other)
	const tried = 600
	refused := make(chan int, tried)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var all sync.WaitGroup
	for range tried {
		all.Go(func() {
			r := w.request(http.MethodGet, "web.shop.localhost", "/", nil).WithContext(ctx)
			r.Close = true
			if response, err := w.client().Do(r); err == nil {
				if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "" {
					refused <- 1
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
	for n := range tried - 256 { // each of them is answered at once
		select {
		case <-refused:
		case <-time.After(time.Minute):
			t.Fatalf("%d refused of %d", n, tried)
		}
	}
	mu.Lock()
	if most > 256 {
		t.Errorf("%d requests at a time", most)
	}
	mu.Unlock()
	got := make(chan int, 1)
	go func() {
		r := w.request(http.MethodGet, "web.other.localhost", "/", nil).WithContext(ctx)
		response, err := w.client().Do(r)
		if err == nil {
			response.Body.Close()
			got <- response.StatusCode
		}
	}()
	close(hold)
	select {
	case code := <-got:
		if code != http.StatusOK {
			t.Errorf("the other workspace gets %d", code)
		}
	case <-time.After(time.Minute):
		t.Error("the other workspace gets nothing")
	}
	cancel(nil)
	all.Wait()
	t.Logf("tried %d requests, carried %d", tried, most)
}

// TestA9IdleConnectionsMakeRoom holds as many connections as there may be, without
// a request, and then asks for a page.
func TestA9IdleConnectionsMakeRoom(t *testing.T) {
	if loopback.Share() > 4000 {
		t.Fatal("the share is larger than this test is for")
	}
	w := newWorld(t)
	w.serve(func(rw http.ResponseWriter, _ *http.Request) { fmt.Fprint(rw, "hello") })
	var held []net.Conn
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	for range loopback.Share() + 10 {
		c, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.address())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
		_, _ = fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: web.shop.localhost\r\n\r\n")
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		_, _ = c.Read(make([]byte, 4096))
	}
	if got, text := w.page("web.shop.localhost", "/"); got.StatusCode != http.StatusOK || text != "hello" {
		t.Errorf("%d %q", got.StatusCode, text)
	}
}
