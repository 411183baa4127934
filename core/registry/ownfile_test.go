package registry_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/registry"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestA5NoDriverOfOthersRuns opens up each component of a driver's path to others,
// for every place that drivers come from and for links into it, and starts the
// driver before, while and after it is open.
func TestA5NoDriverOfOthersRuns(t *testing.T) {
	const stranger = 48213
	tried, accepted, benign := 0, 0, 0
	places := map[string]func(dir string) registry.Config{
		"path":   func(dir string) registry.Config { return registry.Config{Path: []string{dir}} },
		"user":   func(dir string) registry.Config { return registry.Config{UserDir: dir} },
		"beside": func(dir string) registry.Config { return registry.Config{Beside: dir} },
	}
	runs := func(c registry.Config) error {
		_, err := open(t, c).Driver(t.Context(), "toy")
		return err
	}
	for place, config := range places {
		for _, part := range []string{"", "a", "a/b", "a/b/" + registry.Prefix + "toy", "link", "links/" + registry.Prefix + "toy"} {
			for _, mode := range []os.FileMode{0o777, 0o775, 0o757, 0} { // 0: a stranger's
				top := t.TempDir()
				path := install(t, filepath.Join(top, "a", "b"), "toy", "good")
				if err := os.Mkdir(filepath.Join(top, "links"), 0o700); err != nil {
					t.Fatal(err)
				}
				for from, to := range map[string]string{"link": "a", "links/" + registry.Prefix + "toy": path} {
					if err := os.Symlink(to, filepath.Join(top, from)); err != nil {
						t.Fatal(err)
					}
				}
				dir, isLink := filepath.Join(top, "link", "b"), strings.HasPrefix(part, "link")
				if strings.HasPrefix(part, "links") {
					dir = filepath.Join(top, "links")
				}
				if isLink && mode != 0 || mode == 0 && os.Geteuid() != 0 {
					continue
				}
				if err := runs(config(dir)); err != nil {
					t.Errorf("benign, %s: %v", place, err)
				}
				benign++
				spoiled := filepath.Join(top, part)
				var err error
				if mode == 0 {
					err = os.Lchown(spoiled, stranger, -1)
				} else {
					err = os.Chmod(spoiled, mode)
				}
				if err != nil {
					t.Fatal(err)
				}
				tried++
				if err := runs(config(dir)); driver.ReasonOf(err) != driver.DriverUntrusted || len(driver.AsError(err).Remedies) == 0 {
					accepted++
					t.Errorf("%s, %q of mode %v: %v", place, part, mode, err)
				}
			}
		}
	}
	t.Logf("A5, drivers: tried %d, accepted %d; benign twins %d", tried, accepted, benign)
}
