package standintest

import (
	"strings"
	"testing"
)

func TestArgvCheckSeesTheEnvironment(t *testing.T) {
	calls := []Call{{Version: "1.2.2", Argv: []string{"list"}, Env: []string{"CONTAINER_DEBUG=1"}}}
	if wrong := CheckArgv(calls); len(wrong) != 1 {
		t.Errorf("%q", wrong)
	}
}

// TestArgvCheckBites: the check that every test of the driver ends with can fail.
func TestArgvCheckBites(t *testing.T) {
	tests := []struct{ version, argv, says string }{
		{"1.2.2", "exec --interactive ID sh -c x", ""},
		{"1.2.2", "create --env-file /tmp/e --label a=b --name ID repo/app:1 sleep infinity", ""},
		{"0.9.0", "system status --format json", "Unknown option '--format'"},
		{"0.12.3", "copy a ID:/b", "not found"},
		{"0.9.0", "create --init image", "Unknown option '--init'"},
		{"1.2.2", "logs --tail 3 ID", "Unknown option '--tail'"},
		{"1.2.2", "create --env -X=1 image", "Missing value"},
		{"1.2.2", "create --env=-X=1 image", "begins with -"},
		{"1.2.2", "exec ID -- ls", `"--" would be the executable`},
		{"1.2.2", "stop -- -all", "an id begins with -"},
		{"1.2.2", "create --label a=b=c image", "does not arrive"},
		{"1.2.2", "system start", "may ask"},
		{"1.2.2", "--debug list", "--debug"},
	}
	for _, test := range tests {
		wrong := CheckArgv([]Call{{Version: test.version, Argv: strings.Fields(test.argv)}})
		if test.says == "" && len(wrong) > 0 || test.says != "" && (len(wrong) != 1 || !strings.Contains(wrong[0], test.says)) {
			t.Errorf("%s %s: %q, want %q", test.version, test.argv, wrong, test.says)
		}
	}
}
