package environ

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// The kinds of references to secrets, with a name behind them.
const (
	fromEnv  = "env:"
	fromFile = "file:"
)

// maxSecret is the largest secret in bytes; more does not fit into an
// environment on every system.
const maxSecret = 64 << 10

// Secrets looks up what references name: "env:NAME" a variable of this process,
// "file:/path" and "file:~/path" a file, without the line break at its end.
type Secrets struct {
	Home   string                      // what "~" means
	Lookup func(string) (string, bool) // nil: os.LookupEnv
}

// Resolve gives the variables that references, by name, stand for, ordered by
// name. One that cannot be had is left out, with a line that says why; no line
// has a value in it.
func (s Secrets) Resolve(references map[string]string) (env []driver.EnvVar, problems []string) {
	for _, name := range slices.Sorted(maps.Keys(references)) {
		value, err := s.lookUp(references[name])
		if err != nil {
			problems = append(problems, fmt.Sprintf("secrets.%s: %v", name, err))
			continue
		}
		env = append(env, driver.EnvVar{Name: name, Value: value, Secret: true})
	}
	return env, problems
}

func (s Secrets) lookUp(reference string) (string, error) {
	if name, ok := strings.CutPrefix(reference, fromEnv); ok {
		lookup := s.Lookup
		if lookup == nil {
			lookup = os.LookupEnv
		}
		value, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("%s is not set where the daemon was started; set it and start the daemon anew: sero daemon stop", name)
		}
		return value, nil
	}
	path, ok := strings.CutPrefix(reference, fromFile)
	if !ok {
		return "", fmt.Errorf("it is not a reference")
	}
	if below, ok := strings.CutPrefix(path, "~/"); ok {
		path = filepath.Join(s.Home, below)
	}
	return readSecret(path)
}

func readSecret(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // never waits for the other end of a pipe
	if err != nil {
		return "", err // it names the path
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%q is not a file", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxSecret:
		return "", fmt.Errorf("%q is larger than %d bytes", path, maxSecret)
	case strings.ContainsRune(string(text), 0):
		return "", fmt.Errorf("%q holds a NUL byte, which no variable can", path)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), nil
}
