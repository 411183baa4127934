package environ_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/core/environ"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestD1LoginEnvironment lets a profile overwrite and remove variables: a shell that
// reads sero's after it has what it was started with, byte for byte, and what the
// profile added.
func TestD1LoginEnvironment(t *testing.T) {
	sero := profileOf(t, environ.Setup{Env: []driver.EnvVar{{Name: "LATE", Value: "sero"}}}.Script())
	given := map[string]string{
		"PATH": "/my dir:/opt/x:" + os.Getenv("PATH"), "QUOTES": `it's "$HOME" ` + "`id` \\ \\n %s %d !x", "LINES": "\n\na\n b\n\n",
		"TEXT": "\u0101\u0401 \u65e5\u672c \u0301", "BYTES": "\xff\x81\x82\x88\xc3", "EMPTY": "", "EQUALS": "=a=b", "BLANK": "\t\x01\x7f ",
		"LARGE": strings.Repeat("x", 20_000), "GONE": "kept", "lower_1": "kept", "TMOUT": "60", "SAME": "same",
	}
	hostile := "readonly TMOUT=60\nunset GONE\nADDED=yes\nexport ADDED\n"
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if name != "TMOUT" && name != "GONE" && name != "PATH" {
			hostile += "export " + name + "='of the profile'\n"
		}
	}
	profile := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(profile, []byte(hostile+"export PATH=/bin:/usr/bin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(given)
	want["ADDED"], want["LATE"] = "yes", "sero"
	for _, shell := range []string{"sh", "bash"} {
		for _, flags := range []string{"-c", "-euc"} {
			cmd := exec.CommandContext(t.Context(), shell, flags, `. "$1"; . "$2"; . "$2"; exec env -0`, "sh", profile, sero)
			cmd.Env = nil
			for name, value := range given {
				cmd.Env = append(cmd.Env, name+"="+value)
			}
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s %s: %v", shell, flags, err)
			}
			got := map[string]string{}
			for entry := range strings.SplitSeq(string(out), "\x00") {
				name, value, _ := strings.Cut(entry, "=")
				if _, asked := want[name]; asked || strings.HasPrefix(name, "sero") {
					got[name] = value
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s: %s", shell, flags, diff)
			}
		}
	}
}
