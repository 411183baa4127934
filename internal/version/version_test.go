package version

import (
	"runtime/debug"
	"testing"
)

func TestResolve(t *testing.T) {
	for _, c := range []struct{ linked, module, want string }{
		{development, "(devel)", development},
		{development, "", development},
		{development, "v1.2.3", "1.2.3"},
		{development, "v1.2.3-rc.1", "1.2.3-rc.1"},
		{development, "v0.0.0-20260101000000-abcdefabcdef", development},
		{development, "v1.2.3+dirty", development},
		{"2.0.0", "v1.2.3", "2.0.0"},
	} {
		if got := resolve(c.linked, c.module); got != c.want {
			t.Errorf("resolve(%q, %q) = %q, want %q", c.linked, c.module, got, c.want)
		}
	}
}

func TestCommit(t *testing.T) {
	settings := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123456789abcdef0123"},
		{Key: "vcs.modified", Value: "true"},
	}
	if got, want := commit(settings), "0123456789ab-dirty"; got != want {
		t.Errorf("commit = %q, want %q", got, want)
	}
	if got := commit(nil); got != "" {
		t.Errorf("commit of nothing = %q", got)
	}
}
