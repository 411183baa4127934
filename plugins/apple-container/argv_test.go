package applecontainer

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB26B42ArgumentsOfTheCLI leads the driver through all that it does, with
// values that look like options, and looks at what it asked of the CLI: every
// test that starts a stand-in ends with standintest.CheckArgv, and this one makes
// sure that there was something to check. Secrets are in no argument.
func TestB26B42ArgumentsOfTheCLI(t *testing.T) {
	const secret = "the-secret-value"
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version, standintest.Stopped())
			quiet := func(driver.Progress) {}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			ctx := t.Context()
			must(b.StartSystem(ctx, quiet))
			must(os.WriteFile(filepath.Join(b.dir, "-Dockerfile"), []byte("FROM sero-base:bookworm\nARG A\nENV A=$A\n"), 0o600))
			_, err := b.BuildImage(ctx, driver.BuildSpec{
				ContextDir: b.dir, Dockerfile: "-Dockerfile", Tag: "standin-argv:1", NoCache: true,
				Args: map[string]string{"A": "-a=b"}, Labels: map[string]string{"l": "-l"},
			}, quiet)
			must(err)
			_, err = b.EnsureImage(ctx, "sero-base:bookworm", driver.PullAlways, quiet)
			must(err)
			if built, err := b.ListImages(ctx, map[string]string{"l": "-l"}); err != nil || len(built) != 1 {
				t.Errorf("%+v, %v", built, err)
			}
			colon := filepath.Join(b.dir, "-a b:c")
			must(os.Mkdir(colon, 0o700))
			comma := filepath.Join(b.dir, "-a,b=c")
			must(os.Mkdir(comma, 0o700))
			spec := b.spec("sero-argv")
			spec.Image = "standin-argv:1"
			spec.Mounts = append(spec.Mounts,
				driver.Mount{Source: colon, Target: "/-colon", ReadOnly: true}, driver.Mount{Source: comma, Target: "/-comma", ReadOnly: true})
			spec.Env = []driver.EnvVar{{Name: "DASH", Value: "-x"}, {Name: "EMPTY"}, {Name: "SECRET", Value: secret, Secret: true}}
			spec.Labels["-l"] = "-v=-w="
			spec.Resources = driver.Resources{CPUs: 1, MemoryBytes: 256 << 20} // the driver sets the size of /dev/shm itself, where it can
			spec.Publish = []driver.PublishedPort{{SandboxPort: 8000}}
			_, err = b.Create(ctx, spec)
			must(err)
			_, err = b.Start(ctx, spec.ID)
			must(err)
			for _, terminal := range []*driver.TerminalSize{nil, {Rows: 24, Cols: 80}} {
				got := b.run(driver.ExecSpec{
					SandboxID: spec.ID, ExecID: "-e", Argv: []string{"printf", "%s,", "--", "-n", "*"}, Dir: "/-colon", User: "0", Terminal: terminal,
					Env: []driver.EnvVar{{Name: "A", Value: "-b"}, {Name: "TOKEN", Value: secret, Secret: true}},
				}, nil)
				if got.err != nil || got.out != "--,-n,*," {
					t.Errorf("%+v", got)
				}
			}
			if got := b.run(script(spec.ID, `echo "$DASH,$EMPTY,$SECRET"`), nil); got.out != "-x,,"+secret+"\n" {
				t.Errorf("%+v", got)
			}
			must(b.CopyOut(ctx, spec.ID, "/etc/hostname", io.Discard))
			must(b.Stats(ctx, spec.ID, 0, func(driver.Stats) error { return nil }))
			_, err = b.List(ctx, spec.Labels)
			must(err)
			must(b.Stop(ctx, spec.ID, 0))
			must(b.Remove(ctx, spec.ID, true))
			must(b.RemoveImage(ctx, spec.Image, false))

			var commands []string
			for _, call := range b.Journal() {
				if text := strings.Join(call.Argv, " "); strings.Contains(text, secret) {
					t.Errorf("the secret is in: container %s", text)
				}
				name := call.Argv[0]
				if len(call.Argv) > 1 && slices.Contains([]string{"system", "image"}, name) {
					name += " " + call.Argv[1]
				}
				commands = append(commands, name)
			}
			for _, name := range []string{
				"--version", "system status", "system start", "build", "image pull", "image list", "image inspect", "image delete",
				"create", "start", "inspect", "list", "exec", "stats", "stop", "delete",
			} {
				if !slices.Contains(commands, name) {
					t.Errorf("the driver was never led to %s: %q", name, slices.Compact(commands))
				}
			}
		})
	}
}
