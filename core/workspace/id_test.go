package workspace_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/workspace"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestB12ValidateID(t *testing.T) {
	for _, id := range []string{"a", "0", "shop", "a-b", "a--b", "1-2-3", strings.Repeat("a", 58)} {
		if err := workspace.ValidateID(id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
		if workspace.SandboxID(id) != "sero-"+id || len(workspace.SandboxID(id)) > 63 {
			t.Errorf("%q: %s", id, workspace.SandboxID(id))
		}
	}
	hostile := []string{
		"", "../x", "-rf", "a-", "-", "A", "Shop", "a b", "a_b", "a.b", "a/b", "a\x00b", "a\nb", "\x1b[31mred", "a\r",
		"sh\u043ep", "a\u200bb", "a\u202eb", strings.Repeat("a", 59), strings.Repeat("a", 10_000), "a:b", "a\n", "%41", "\xff",
	}
	printable := regexp.MustCompile(`^[ -~…]*$`)
	for _, id := range hostile {
		err := wantReason(t, workspace.ValidateID(id), driver.NameInvalid)
		if !strings.Contains(err.Message, "lower-case letters, digits and hyphens") || !strings.Contains(err.Message, "58") {
			t.Errorf("%q: the rule is not in %q", id, err.Message)
		}
		if len(err.Message) > 400 || !printable.MatchString(err.Message) || len(err.Remedies) == 0 || err.Field != "id" {
			t.Errorf("%q: %q, remedies %v", id, err.Message, err.Remedies)
		}
		if _, _, fromFile := config.ParseWorkspace("sero.json", []byte(`{"id": "`+strings.TrimRight(id, "\x00")+`"}`)); fromFile == nil {
			t.Errorf("%q: sero.json accepts it", id)
		}
	}
}

func TestB12IDFromName(t *testing.T) {
	for name, want := range map[string]string{
		"shop": "shop", "My Shop": "my-shop", ".config": "config", "a__b..c": "a-b-c", "-x-": "x", "": "workspace", "日本": "workspace",
		"caf\u00e9": "caf", strings.Repeat("ab-", 100): strings.TrimRight(strings.Repeat("ab-", 20)[:58], "-"),
	} {
		if got := workspace.IDFromName(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzIDFromName(f *testing.F) {
	f.Add("My Shop")
	f.Add(strings.Repeat("-", 300))
	f.Fuzz(func(t *testing.T, name string) {
		if err := workspace.ValidateID(workspace.IDFromName(name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	})
}
