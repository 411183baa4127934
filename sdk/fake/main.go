package fake

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/internal/plug"
	"github.com/sero-labs/sero-runtime/sdk/serve"
)

// maxSocketDir is how long a socket's directory may be before long-dir-hangs
// hangs.
const maxSocketDir = 90

// Main is the whole of a fake driver's binary: it does what the script of
// the environment or the arguments wants before serving, serves, and ends the process.
func Main() {
	script, err := ScriptOfProcess()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(2) //nolint:forbidigo // this is the main function
	}
	d := New(script)
	d.kill = func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL) }
	byHand := os.Getenv(plug.CookieKey) != plug.CookieValue
	switch {
	case slices.Contains(os.Args[1:], "describe"):
		if d.has("describe-differs") {
			d.info.Version = "9.9.9"
		}
	case byHand && d.has("by-hand-hangs"):
		hang()
	case byHand && d.has("by-hand-mute"):
		os.Exit(1) //nolint:forbidigo // this is the main function
	case !byHand:
		d.startup(d.script.Startup)
	}
	f := newFaulty(d)
	i := newInterceptor(f)
	opts := []serve.Option{serve.WithInterceptors(i.Unary, i.Stream)}
	if d.has("no-lifeline") {
		opts = append(opts, serve.WithoutLifeline())
	}
	serve.Main(f, opts...)
}

// startup misbehaves before the first call.
func (d *Driver) startup(s Startup) {
	_, _ = io.WriteString(os.Stderr, s.Stderr)
	_, _ = io.WriteString(os.Stdout, s.Stdout)
	time.Sleep(time.Duration(s.Delay))
	if s.NeedEnv != "" && os.Getenv(s.NeedEnv) == "" {
		_, _ = fmt.Fprintf(os.Stderr, "%s is not set\n", s.NeedEnv)
		os.Exit(1) //nolint:forbidigo // this is the main function
	}
	if s.Exit != nil {
		_, _ = fmt.Fprintln(os.Stderr, "the script says to end now")
		os.Exit(*s.Exit) //nolint:forbidigo // this is the main function
	}
	if s.WireVersion > 0 { // the line of a driver of that protocol, and nothing behind it
		_, _ = fmt.Fprintf(os.Stdout, "1|%d|unix|/nowhere|grpc\n", s.WireVersion)
		hang()
	}
	dir := os.Getenv("PLUGIN_UNIX_SOCKET_DIR")
	if s.Hang || (d.has("long-dir-hangs") && len(dir) > maxSocketDir) {
		hang()
	}
	if d.has("socket-elsewhere") {
		_ = os.Setenv("PLUGIN_UNIX_SOCKET_DIR", cmp.Or(os.Getenv("TMPDIR"), dir))
	}
	if s.FloodStdout > 0 {
		go func() { // once go-plugin has taken standard output over
			time.Sleep(100 * time.Millisecond)
			_, _ = io.WriteString(os.Stdout, strings.Repeat("noise ", s.FloodStdout/6))
		}()
	}
}

// hang waits to be killed, or for its host to be gone.
func hang() {
	for os.Getppid() != 1 {
		time.Sleep(100 * time.Millisecond)
	}
	os.Exit(1) //nolint:forbidigo // this is the main function
}
