package config_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// many is n entries, each made by format from its number.
func many(format string, n int) string {
	entries := make([]string, n)
	for i := range entries {
		entries[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(entries, ",\n")
}

// A13: unknown keys cost little each, the warnings are few, and the last says how
// many there are besides.
func TestA13ManyUnknownKeysCostLittle(t *testing.T) {
	for _, text := range []string{
		"{" + many(`"k%06d": 1`, 50_000) + "}",
		`{"resources": {` + many(`"memory%05d": {}`, 50_000) + "}}",
		`{"devServers": {"web": {"command": ["x"], ` + many(`"prot%05d": []`, 50_000) + "}}}",
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, warnings, err := config.ParseWorkspace("sero.json", []byte(text))
		runtime.ReadMemStats(&after)
		if err != nil || len(warnings) != 51 {
			t.Fatalf("%d warnings, %v", len(warnings), err)
		}
		if last := warnings[50].Message; last != "49950 more warnings are left out" {
			t.Errorf("the last one is %q", last)
		}
		if used := (after.TotalAlloc - before.TotalAlloc) / uint64(len(text)); used > 200 {
			t.Errorf("%d bytes of memory for each byte of the file", used)
		}
	}
}

// A13: what is too large is said to be, at its place.
func TestA13TooLargeIsSaidAsTooLarge(t *testing.T) {
	server := `"web": {"command": ["x"], "env": {`
	for text, field := range map[string]string{
		`{"env": {` + many(`"V%06d": "x"`, 50_000) + `}}`:                          "env",
		`{"secrets": {` + many(`"V%06d": "env:X"`, 40_000) + `}}`:                  "secrets",
		`{"roots": [` + many(`"/r%06d"`, 50_000) + `]}`:                            "roots",
		`{"egress": {"deny": [` + many(`"h%06d.example"`, 40_000) + `]}}`:          "egress.deny",
		`{"devServers": {` + many(`"s%05d": {"command": ["x"]}`, 20_000) + `}}`:    "devServers",
		`{"devServers": {` + server + many(`"V%06d": "x"`, 40_000) + `}}}}`:        "devServers.web.env",
		`{"env": {"V": "` + strings.Repeat("x", 128<<10) + `"}}`:                   "env",
		`{"env": {` + many(`"V%d": "`+strings.Repeat("x", 100_000)+`"`, 10) + `}}`: "env",
		`{"id": "` + strings.Repeat("x", config.MaxSize) + `"}`:                    "",
	} {
		_, _, err := config.ParseWorkspace("sero.json", []byte(text))
		if driver.ReasonOf(err) != driver.ConfigInvalid || driver.AsError(err).Field != field || len(err.Error()) > 200 ||
			!strings.Contains(err.Error(), "large") {
			t.Errorf("%.40s…: %v", text, err)
		}
	}
	for _, text := range []string{
		`{"env": {` + many(`"V%06d": "x"`, 1000) + `}}`,
		`{"env": {"V": "` + strings.Repeat("x", 127<<10) + `"}}`,
	} {
		if _, _, err := config.ParseWorkspace("sero.json", []byte(text)); err != nil {
			t.Errorf("%.40s…: %v", text, err)
		}
	}
}
