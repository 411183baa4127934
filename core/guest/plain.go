package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// plain works inside a sandbox with what is there: the driver's own Exec, a
// shell, ss. It is slower than the helper and can do less.
type plain struct{ target Target }

// execIDEnv is the variable that tells which of the core's commands a process
// descends from.
const execIDEnv = "SERO_COMMAND_ID"

// Bounds of what a sandbox may answer.
const (
	maxAnswer    = 1 << 20 // bytes of one answer
	maxListeners = 4096
	maxComm      = 64  // bytes of a process's name
	maxExecID    = 128 // bytes
)

func (p plain) exec(ctx context.Context, spec driver.ExecSpec, stdio driver.ExecIO) (driver.ExitStatus, error) {
	d, err := p.target.Driver(ctx)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	spec.SandboxID = p.target.SandboxID
	spec.Env = append(slices.Clone(spec.Env), driver.EnvVar{Name: execIDEnv, Value: spec.ExecID})
	return d.Exec(ctx, spec, stdio)
}

// script runs a shell script and gives each of its lines to take, which may
// fail to end it. It runs as whoever commands do: even root is not shown what
// another user's process listens on, unless it may trace it.
func (p plain) script(ctx context.Context, text string, args []string, take func(line string) error) (driver.ExitStatus, error) {
	d, err := p.target.Driver(ctx)
	if err != nil {
		return driver.ExitStatus{}, err
	}
	lines := &lineWriter{take: take}
	status, err := d.Exec(ctx, driver.ExecSpec{
		SandboxID: p.target.SandboxID,
		Argv:      append([]string{"/bin/sh", "-c", text, "sero"}, args...),
		Dir:       "/",
		User:      p.target.User,
		Env:       []driver.EnvVar{{Name: "LC_ALL", Value: "C"}},
	}, driver.ExecIO{Stdout: lines})
	if lines.err != nil {
		err = lines.err
	}
	return status, err
}

// lineWriter cuts what is written into lines, each bounded.
type lineWriter struct {
	take func(string) error
	rest []byte
	err  error
}

var errTooLong = errors.New("a line is too long")

// Write takes the lines that are complete.
func (w *lineWriter) Write(b []byte) (int, error) {
	for w.rest = append(w.rest, b...); w.err == nil; {
		line, rest, found := bytes.Cut(w.rest, []byte{'\n'})
		if !found {
			break
		}
		w.rest = rest
		w.err = w.take(string(line))
	}
	if w.err == nil && len(w.rest) > maxAnswer {
		w.err = errTooLong
	}
	return len(b), w.err
}

// listening is a part of scripts: it prints a line of ss for each listening
// socket, then a line "exec PID ID" for each of their processes that descends
// from a command of the core.
const listening = `
command -v ss >/dev/null 2>&1 || exit 69
listening() {
	found=$(ss -Htlnp) || exit 70
	printf '%s\n' "$found"
	for pid in $(printf '%s\n' "$found" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u); do
		id=$(tr '\0' '\n' 2>/dev/null </proc/$pid/environ | sed -n 's/^` + execIDEnv + `=//p' | head -n 1)
		[ -z "$id" ] || echo "exec $pid $id"
	done
}
`

// watching prints the listeners whenever they have changed, and then a dot.
const watching = listening + `
last=none
while :; do
	now=$(ss -Htlnp) || exit 70
	if [ "$now" != "$last" ]; then
		last=$now
		listening
		echo .
	fi
	sleep 1
done`

func (p plain) listeners(ctx context.Context, report func([]driver.Listener) error) error {
	d, err := p.target.Driver(ctx)
	if err != nil {
		return err
	}
	if watcher, err := driver.ListenerWatcherOf(d); err == nil {
		return watcher.Listeners(ctx, p.target.SandboxID, report)
	}
	var set []string
	status, err := p.script(ctx, watching, nil, func(line string) error {
		if line != "." {
			if set = append(set, line); len(set) > 2*maxListeners {
				return errTooLong
			}
			return nil
		}
		found := parseListening(set)
		set = nil
		return report(found)
	})
	if err != nil {
		return err
	}
	return p.scriptFailed(status)
}

func (p plain) scriptFailed(status driver.ExitStatus) error {
	if status.Code == 69 {
		return driver.Errorf(driver.Unsupported, "sandbox %s has neither the guest helper nor the command ss", p.target.SandboxID).
			About(p.target.SandboxID).Remedy("install iproute2 in the image").
			Remedy("make the sandbox anew, with the helper in it", "sero", "recreate")
	}
	return driver.Errorf(driver.Internal, "looking at the listeners of sandbox %s failed with code %d", p.target.SandboxID, status.ShellCode()).
		About(p.target.SandboxID)
}

// parseListening reads what the script listening prints.
func parseListening(lines []string) []driver.Listener {
	var found []driver.Listener
	execs := map[int64]string{}
	for _, text := range lines {
		if rest, ok := strings.CutPrefix(text, "exec "); ok {
			pid, id, _ := strings.Cut(rest, " ")
			if n, err := strconv.ParseInt(pid, 10, 64); err == nil {
				execs[n] = line(id, maxExecID)
			}
			continue
		}
		if l, ok := parseSocket(text); ok && len(found) < maxListeners {
			found = append(found, l)
		}
	}
	for i := range found {
		found[i].ExecID = execs[found[i].PID]
	}
	return found
}

// parseSocket reads one line of ss -Htlnp:
//
//	LISTEN 0 128 127.0.0.1:5173 0.0.0.0:* users:(("node",pid=12,fd=3))
func parseSocket(text string) (driver.Listener, bool) {
	fields := strings.Fields(text)
	if len(fields) < 5 || fields[0] != "LISTEN" {
		return driver.Listener{}, false
	}
	colon := strings.LastIndexByte(fields[3], ':')
	if colon < 0 {
		return driver.Listener{}, false
	}
	port, err := strconv.ParseUint(fields[3][colon+1:], 10, 16)
	if err != nil || port == 0 {
		return driver.Listener{}, false
	}
	address, _, _ := strings.Cut(strings.Trim(fields[3][:colon], "[]"), "%")
	if address == "*" {
		address = "::"
	}
	l := driver.Listener{Address: address, Port: uint16(port)}
	if net.ParseIP(address) == nil || address == dockerDNS && len(fields) < 6 {
		return driver.Listener{}, false
	}
	_, users, _ := strings.Cut(text, `users:(("`)
	if name, rest, ok := strings.Cut(users, `",pid=`); ok {
		number, _, _ := strings.Cut(rest, ",")
		l.Command = line(name, maxComm)
		l.PID, _ = strconv.ParseInt(number, 10, 64)
	}
	return l, true
}

// dockerDNS is where an engine answers names in its sandboxes, from outside.
const dockerDNS = "127.0.0.11"

// stopping ends the process groups that listen on port $1 within $2 tenths of a
// second, and prints what listened first.
const stopping = listening + `
group() { stat=$(cat "/proc/$1/stat" 2>/dev/null) || return; stat=${stat##*) }; set -- $stat; echo "$3"; }
found=$(listening | grep -E "^exec |:$1 ")
printf '%s\n' "$found"
own=$(group $$)
groups=
for pid in $(printf '%s\n' "$found" | grep "^LISTEN" | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -u); do
	g=$(group "$pid")
	[ -n "$g" ] && [ "$g" -gt 1 ] && [ "$g" != "$own" ] && groups="$groups $g"
done
left() { for g in $groups; do kill -s 0 -- "-$g" 2>/dev/null && return 0; done; return 1; }
for g in $groups; do kill -s TERM -- "-$g" 2>/dev/null; done
n=0
while left && [ "$n" -lt "$2" ]; do sleep 0.1; n=$((n + 1)); done
for g in $groups; do kill -s KILL -- "-$g" 2>/dev/null; done
exit 0`

func (p plain) stopListeners(ctx context.Context, port uint16, grace time.Duration) ([]driver.Listener, error) {
	var lines []string
	tenths := strconv.FormatInt(int64((grace+99*time.Millisecond)/(100*time.Millisecond)), 10)
	status, err := p.script(ctx, stopping, []string{strconv.Itoa(int(port)), tenths}, func(line string) error {
		if lines = append(lines, line); len(lines) > 2*maxListeners {
			return errTooLong
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if status.ShellCode() != 0 {
		return nil, p.scriptFailed(status)
	}
	found := parseListening(lines)
	return slices.DeleteFunc(found, func(l driver.Listener) bool { return l.Port != port }), nil
}

// relaying connects to $1, port $2, says so in one line, and carries input and
// output. What a sandbox has for it differs.
const relaying = `
if command -v python3 >/dev/null 2>&1; then exec python3 -c '
import os, socket, sys, threading
try: s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
except OSError as e: print(e, file=sys.stderr); sys.exit(71)
s.settimeout(None)
os.write(1, b"connected\n")
def send():
    while True:
        b = os.read(0, 65536)
        if not b: break
        s.sendall(b)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while True:
    b = s.recv(65536)
    if not b: break
    while b: b = b[os.write(1, b):]
' "$1" "$2"
elif command -v node >/dev/null 2>&1; then exec node -e '
const s = require("net").connect({host: process.argv[1], port: +process.argv[2], allowHalfOpen: true}, () => {
  process.stdout.write("connected\n"); process.stdin.pipe(s); s.pipe(process.stdout);
});
s.on("error", e => { console.error(e.message); process.exit(71); });
s.on("end", () => process.stdin.unref && process.stdin.unref());
' "$1" "$2"
elif command -v socat >/dev/null 2>&1; then
	case $1 in *:*) to="[$1]" ;; *) to=$1 ;; esac
	socat /dev/null "TCP:$to:$2" 2>/dev/null || exit 71
	echo connected
	exec socat -t 86400 - "TCP:$to:$2"
fi
exit 69`

func (p plain) dial(ctx context.Context, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, driver.Errorf(driver.InvalidArgument, "%q is not an address to connect to: %w", address, err)
	}
	d, err := p.target.Driver(ctx)
	if err != nil {
		return nil, err
	}
	near, far, err := socketPair()
	if err != nil {
		return nil, driver.Errorf(driver.Internal, "no sockets for a connection: %w", err)
	}
	relay := &relay{said: make(chan string, 1), far: far}
	ended := make(chan error, 1)
	running, end := context.WithCancelCause(context.WithoutCancel(ctx))
	go func() { // ends with either side of the connection
		defer end(nil)
		defer func() { _ = far.Close() }()
		status, err := d.Exec(running, driver.ExecSpec{
			SandboxID: p.target.SandboxID, Argv: []string{"/bin/sh", "-c", relaying, "sero", host, port}, Dir: "/",
		}, driver.ExecIO{Stdin: &closing{far}, Stdout: relay})
		if err == nil {
			err = p.notConnected(address, status)
		}
		ended <- err
	}()
	select {
	case <-relay.said:
		return near, nil
	case err = <-ended:
	case <-ctx.Done():
		end(context.Cause(ctx))
		err = driver.AsError(context.Cause(ctx))
	}
	_ = near.Close()
	return nil, err
}

func (p plain) notConnected(address string, status driver.ExitStatus) error {
	if status.Code == 69 {
		return driver.Errorf(driver.Unsupported, "sandbox %s has neither the guest helper nor python3, node or socat to connect with", p.target.SandboxID).
			About(p.target.SandboxID).Remedy("make the sandbox anew, with the helper in it", "sero", "recreate")
	}
	return errRefused(address)
}

// relay takes the line that tells that the connection stands, and passes on
// what follows.
type relay struct {
	said chan string
	line []byte
	open bool
	far  *net.UnixConn
}

// Write passes output on.
func (r *relay) Write(b []byte) (int, error) {
	if r.open {
		return r.far.Write(b)
	}
	r.line = append(r.line, b...)
	line, rest, found := bytes.Cut(r.line, []byte{'\n'})
	switch {
	case found && string(line) == "connected":
		r.open = true
		r.said <- ""
		if _, err := r.far.Write(rest); err != nil {
			return 0, err
		}
	case found || len(r.line) > 64:
		return 0, fmt.Errorf("the relay said %q", line)
	}
	return len(b), nil
}

// closing reads what the caller sends. When the caller has closed its end
// altogether, that is the end of the relay too.
type closing struct{ far *net.UnixConn }

// Read reads from the caller.
func (c *closing) Read(b []byte) (int, error) {
	n, err := c.far.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}
