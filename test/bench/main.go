// Bench measures the built sero beside what it is compared with, in one run:
// the cases take turns, and medians and ratios are printed. It judges nothing.
//
//	go run ./test/bench [-rounds 30] [-size 1G] [-image sero-base:bookworm] bin/sero
//
// With an image that Docker has, it also measures workspaces in containers, and
// beside them those of the devcontainers CLI and of DevPod, where these are on PATH.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
	"github.com/sero-labs/sero-runtime/core/api/apipb/apipbconnect"
	"github.com/sero-labs/sero-runtime/internal/paths"
)

func main() {
	if os.Getenv(serveVariable) != "" {
		serve()
		return
	}
	rounds := flag.Int("rounds", 30, "how often each case runs")
	size := flag.String("size", "1G", "how much the throughput cases move, as head -c takes it")
	image := flag.String("image", "", "an image that Docker has, for the cases in a container")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: bench [-rounds N] [-size 1G] PATH-OF-SERO")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *rounds, *size, *image); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(sero string, rounds int, size, image string) error {
	sero, err := filepath.Abs(sero)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sb")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b := &bench{sero: sero, dir: dir, out: tabwriter.NewWriter(os.Stdout, 2, 8, 2, ' ', 0)}
	if err := os.Mkdir(filepath.Join(dir, "shop"), 0o700); err != nil {
		return err
	}
	defer func() { _ = b.cli("daemon", "stop")() }()
	return errors.Join(b.starts(min(rounds, 10)), b.commands(rounds), b.throughput(5, size), b.container(rounds, image, size), b.idle(), b.out.Flush())
}

type bench struct {
	sero, dir string
	out       *tabwriter.Writer
}

func (b *bench) home() string { return filepath.Join(b.dir, "h") }

// a timed case.
type timed struct {
	name    string
	do      func() error
	prepare func() error // before each do, not timed; may be nil
}

// settle is the pause before each case: an engine goes on working for a while
// after its answer, which is not the next case's to pay.
const settle = 50 * time.Millisecond

// compare runs the cases in turns and prints each median beside the first's.
func (b *bench) compare(title string, rounds int, cases []timed) error {
	taken := make([][]time.Duration, len(cases))
	for range rounds {
		for i, c := range cases {
			if c.prepare != nil {
				if err := c.prepare(); err != nil {
					return fmt.Errorf("%s: %w", c.name, err)
				}
			}
			time.Sleep(settle)
			began := time.Now()
			if err := c.do(); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			taken[i] = append(taken[i], time.Since(began))
		}
	}
	fmt.Fprintf(b.out, "\n%s\tmin\tmedian\tratio\t(%d rounds)\n", title, rounds)
	first := median(taken[0])
	for i, c := range cases {
		fmt.Fprintf(b.out, "%s\t%s\t%s\t%.2f\n", c.name, round(slices.Min(taken[i])), round(median(taken[i])), float64(median(taken[i]))/float64(first))
	}
	return nil
}

func (b *bench) starts(rounds int) error {
	return b.compare("first answer", rounds, []timed{
		{name: "sero version", do: b.cli("version")},
		{name: "sero ls, cold: the daemon starts", do: b.cli("ls"), prepare: b.cli("daemon", "stop")},
		{name: "sero ls, the first of a version: its daemon is unpacked", do: b.cli("ls"), prepare: func() error {
			return errors.Join(b.cli("daemon", "stop")(), os.RemoveAll(paths.Programs(b.home())))
		}},
		{name: "sero ls, warm", do: b.cli("ls")},
	})
}

func (b *bench) commands(rounds int) error {
	if err := b.cli("up", "--driver", "host", filepath.Join(b.dir, "shop"))(); err != nil {
		return err
	}
	client, closeClient := b.client()
	defer closeClient()
	return b.compare("run true", rounds, []timed{
		{name: "direct fork and exec", do: func() error { return exec.Command("true").Run() }},
		{name: "API on a kept connection", do: func() error { return apiExec(client, "shop", "true") }},
		{name: "sero exec -- true, whole process", do: b.cli("exec", "-w", "shop", "--", "true")},
	})
}

func (b *bench) throughput(rounds int, size string) error {
	return b.compare("move "+size, rounds, []timed{
		{name: "a pipe: head | drain", do: func() error { return drain(exec.Command("head", "-c", size, "/dev/zero")) }},
		{name: "sero exec -- head | drain", do: func() error { return drain(b.command("exec", "-w", "shop", "--", "head", "-c", size, "/dev/zero")) }},
	})
}

func (b *bench) command(args ...string) *exec.Cmd {
	cmd := exec.Command(b.sero, args...)
	cmd.Env = append(os.Environ(), paths.HomeVariable+"="+b.home(), paths.RunVariable+"="+filepath.Join(b.dir, "r"))
	cmd.Dir = filepath.Join(b.dir, "shop")
	return cmd
}

func (b *bench) cli(args ...string) func() error {
	return func() error {
		if out, err := b.command(args...).CombinedOutput(); err != nil {
			return fmt.Errorf("sero %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
}

func (b *bench) client() (apipbconnect.ExecServiceClient, func()) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.dir, "r", "sero.sock"))
	}}
	return apipbconnect.NewExecServiceClient(&http.Client{Transport: transport}, "http://sero"), transport.CloseIdleConnections
}

func apiExec(client apipbconnect.ExecServiceClient, workspace string, argv ...string) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 30*time.Second, errors.New("no answer"))
	defer cancel()
	stream, err := client.Exec(ctx)
	if err != nil {
		return err
	}
	start := &apipb.ExecStart{Workspace: &apipb.WorkspaceRef{Id: workspace}, Argv: argv}
	if err := stream.Send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Start{Start: start}}); err != nil {
		return err
	}
	for {
		resp, err := stream.Receive()
		if err != nil {
			return err
		}
		if exit := resp.GetExit(); exit != nil {
			return errors.Join(stream.CloseRequest(), stream.CloseResponse())
		}
	}
}

func drain(cmd *exec.Cmd) error {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{out}, make([]byte, 64<<10))
	return errors.Join(err, cmd.Wait())
}

// feed runs a command with the output of another as its input.
func feed(from []string, to *exec.Cmd) error {
	source := exec.Command(from[0], from[1:]...)
	out, err := source.StdoutPipe()
	if err != nil {
		return err
	}
	to.Stdin = out
	if err := source.Start(); err != nil {
		return err
	}
	return errors.Join(to.Run(), source.Wait())
}

func median(ds []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(ds))
	return sorted[len(sorted)/2]
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
