package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/config"
)

// TestD2PathIsNotReplaced warns of values that are meant for a shell, and of no others.
func TestD2PathIsNotReplaced(t *testing.T) {
	for assignment, warned := range map[string]bool{
		"PATH=/x:$PATH": true, "PATH=${PATH}:/x": true, "PATH=$HOME/bin:/bin": true, "PATH=/bin:~/bin": true, "PATH=%PATH%;/x": true,
		"NODE_PATH=/x:$NODE_PATH": true, "NODE_PATH=${NODE_PATH:-}/x": true,
		"PATH=/x:/usr/bin": false, "PRICE=$5": false, "A=$ABC": false, "NODE_PATH=$PATH": false, "PASSWORD=pa$$word": false,
	} {
		name, value, _ := strings.Cut(assignment, "=")
		_, warnings, err := config.ParseWorkspace("sero.json", fmt.Appendf(nil, `{"env": {%q: %q}}`, name, value))
		if err != nil || (len(warnings) == 1) != warned {
			t.Errorf("%s: %v %v", assignment, warnings, err)
		}
	}
}

// TestD2Path refuses what cannot be one directory of PATH.
func TestD2Path(t *testing.T) {
	for dir, fine := range map[string]bool{
		"/x": true, "./node_modules/.bin": true, "my dir": true, "": false, "/x:/y": false, "$PATH": false, "~/bin": false, "a\nb": false,
	} {
		w, _, err := config.ParseWorkspace("sero.json", fmt.Appendf(nil, `{"path": [%q]}`, dir))
		if (err == nil) != fine || fine && w.Path[0] != dir {
			t.Errorf("%q: %v %v", dir, w.Path, err)
		}
	}
}
