// Command hello-web is a small dev server: it listens on PORT, or on a port of
// the system's choice, says where, and answers every request with one line.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := serve(ctx, net.JoinHostPort("127.0.0.1", cmp.Or(os.Getenv("PORT"), "0")))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hello-web:", err)
		os.Exit(1)
	}
}

// serve answers on address until ctx ends.
func serve(ctx context.Context, address string) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())

	server := &http.Server{Handler: http.HandlerFunc(hello), ReadHeaderTimeout: 5 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stopped()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	fmt.Println("stopped")
	return nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	fmt.Println(r.Method, r.URL.Path)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "Hello from a dev server that sero runs")
}
