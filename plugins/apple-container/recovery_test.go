package applecontainer

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standintest"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func remedies(err error) (commands []string) {
	for _, r := range driver.AsError(err).Remedies {
		if len(r.Command) > 1 {
			commands = append(commands, r.Command[0]+" "+r.Command[1])
		}
	}
	return commands
}

// TestB17NameTaken: a name that is taken by nothing that is shown is one clear
// error, with what a person can do about it.
func TestB17NameTaken(t *testing.T) {
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version)
			b.Fault("stale-name=sero-taken")
			for range 2 { // removing what is not there changes nothing
				_, err := b.Create(t.Context(), b.spec("sero-taken"))
				wantReason(t, err, driver.Corrupt)
				if got := remedies(err); !slices.Contains(got, "container delete") {
					t.Errorf("remedies %q", got)
				}
				if err := b.Remove(t.Context(), "sero-taken", true); err != nil {
					t.Error(err)
				}
			}
			if version == "1.2.2" {
				b.Run("delete", "--force", "sero-taken") // what the remedy says
				b.Fault("")
				b.running("sero-taken")
			}
		})
	}
}

// TestB17GhostThatForceDoesNotRemove is up to 0.9, where only a restart helps.
func TestB17GhostThatForceDoesNotRemove(t *testing.T) {
	b := newBox(t, "0.9.0")
	b.running("sero-ghost")
	b.Fault("ghost=sero-ghost")
	err := b.Remove(t.Context(), "sero-ghost", true)
	wantReason(t, err, driver.Corrupt)
	if got := remedies(err); !slices.Contains(got, "sero driver") {
		t.Errorf("remedies %q", got)
	}
}

// TestB13BusyRegistry: a pull is tried again when the registry is busy.
func TestB13BusyRegistry(t *testing.T) {
	b := newBox(t, current)
	b.Fault("pull-fails=2")
	if _, err := b.EnsureImage(t.Context(), "sero-base:bookworm", driver.PullAlways, func(driver.Progress) {}); err != nil {
		t.Error(err)
	}
}

// TestB18Labels: labels come back as they were given, whatever is in them.
func TestB18Labels(t *testing.T) {
	b := newBox(t, current)
	spec := b.spec("sero-labels")
	maps.Copy(spec.Labels, map[string]string{"-x": "-y", "a=b": "c=d=", "percent": "%3D", "empty": "", "path": "/a b,c:ü\n"})
	sb, err := b.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(sb.Labels, spec.Labels) {
		t.Errorf("%q, want %q", sb.Labels, spec.Labels)
	}
}

// TestB21WorkspaceIsMounted: the workspace is there without being asked for, and
// commands begin in it.
func TestB21WorkspaceIsMounted(t *testing.T) {
	for _, version := range standintest.Versions {
		t.Run(version, func(t *testing.T) {
			b := newBox(t, version)
			spec := b.spec("sero-workspace")
			spec.Mounts = nil
			if _, err := b.Create(t.Context(), spec); err != nil {
				t.Fatal(err)
			}
			sb, err := b.Start(t.Context(), spec.ID)
			if err != nil || sb.WorkspaceDir != workspaceDir {
				t.Fatalf("%q, %v", sb.WorkspaceDir, err)
			}
			if got := b.run(script(spec.ID, "pwd; echo text > made"), nil); got.out != "/workspace\n" || got.err != nil || got.Code != 0 {
				t.Errorf("%+v", got)
			}
			if text, err := os.ReadFile(filepath.Join(b.dir, "made")); string(text) != "text\n" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}
