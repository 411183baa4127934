package docker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sero-labs/sero-runtime/internal/testutil/dockertest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB13Builders builds with each builder that the engine has.
func TestB13Builders(t *testing.T) {
	image, host := dockertest.BaseImage(t), dockertest.Engine(t)
	for _, buildKit := range []bool{false, true} {
		name := map[bool]string{false: "classic", true: "BuildKit"}[buildKit]
		t.Run(name, func(t *testing.T) {
			d := New()
			d.engine.configure(settings{Host: host})
			t.Cleanup(func() { _ = d.Shutdown(context.Background()) })
			c, err := d.engine.connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.buildKit = buildKit // Docker 20.10 has both, and says so of one
			dir := t.TempDir()
			spec := driver.BuildSpec{Tag: "sero-test-builders:" + strings.ToLower(name), ContextDir: dir, Args: map[string]string{"WHO": "me"}, NoCache: true}
			run := func(last string) (driver.Image, []string, driver.Progress, error) {
				text := "FROM " + image + "\nARG WHO=nobody\nLABEL who=$WHO\nCOPY file /file\nRUN echo a-line-of-output; cat /file\n" + last
				if err := errors.Join(os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o600), os.WriteFile(filepath.Join(dir, "file"), []byte("x\n"), 0o600)); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, errSlow)
				defer cancel()
				var lines []string
				var latest driver.Progress
				made, err := d.BuildImage(ctx, spec, func(p driver.Progress) {
					lines = append(lines, p.Message)
					latest = p
				})
				return made, lines, latest, err
			}
			made, lines, latest, err := run("")
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(lines, "\n"))
			}
			t.Cleanup(func() { _ = d.RemoveImage(context.Background(), spec.Tag, true) })
			if made.Labels["who"] != "me" || latest.Total < 4 || !slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, "a-line-of-output") }) {
				t.Errorf("made %+v, last progress %+v, lines:\n%s", made, latest, strings.Join(lines, "\n"))
			}
			_, _, _, err = run("RUN echo the-last-words; exit 3\n")
			if driver.ReasonOf(err) != driver.ImageBuildFailed || !strings.Contains(err.Error(), "the-last-words") {
				t.Errorf("a build that fails: %v", err)
			}
		})
	}
}
