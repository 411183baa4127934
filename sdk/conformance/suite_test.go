package conformance_test

import (
	"bytes"
	"cmp"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sero-labs/sero-runtime/sdk/conformance"
)

func TestMain(m *testing.M) {
	conformance.HostMain()
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // the suites mostly wait
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built)
		os.Exit(code) //nolint:forbidigo // it is the main function
	}))
}

// build builds the drivers, once for all tests of this package.
var built string // where, if it was needed

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "sero-conformance-")
	if err != nil {
		return "", err
	}
	built = dir
	cmd := exec.Command("go", "build", "-o", dir, "../../cmd/sero-driver-fake", "../../cmd/sero-driver-host")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", &os.PathError{Op: string(out), Path: dir, Err: err}
	}
	return dir, nil
})

func driverBinary(t *testing.T, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "sero-driver-"+name)
}

// slack is for machines that are busy with other tests.
const slack = 8 * time.Second

// fakeConfig tests the fake with a script.
func fakeConfig(t *testing.T, script string) conformance.Config {
	t.Helper()
	return conformance.Config{
		Path:    driverBinary(t, "fake"),
		Args:    []string{"-script=" + script},
		Env:     []string{"HOME=" + cmp.Or(os.Getenv("HOME"), "/"), "PATH=" + os.Getenv("PATH")},
		Profile: conformance.Profile{PullImage: "sero-node:latest", StopSystem: true},
		Slack:   slack,
	}
}

func TestFakeConforms(t *testing.T) {
	conforms(t, fakeConfig(t, ""))
}

func TestHostConforms(t *testing.T) {
	conforms(t, conformance.Config{Path: driverBinary(t, "host"), Slack: slack})
}

func conforms(t *testing.T, c conformance.Config) {
	t.Helper()
	if only := os.Getenv("SERO_CONFORMANCE_CASES"); only != "" { // while working on a case
		c.Run = regexp.MustCompile(only)
	}
	report, err := conformance.Check(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict != conformance.Conformant && (c.Run == nil || report.Verdict != conformance.Incomplete) {
		var text bytes.Buffer
		_ = report.WriteText(&text)
		t.Errorf("%s: %s\n%s", report.Verdict, report.Why, text.String())
	}
}
