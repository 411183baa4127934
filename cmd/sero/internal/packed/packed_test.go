package packed

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/sero-labs/sero-runtime/cmd/sero/internal/daemonclient"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func carried(t *testing.T, content string) fs.FS {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return fstest.MapFS{"bin/README": {}, "bin/sero-1.gz": {Data: b.Bytes()}}
}

func TestProgramIsWrittenOnceByManyAndRuns(t *testing.T) {
	from := carried(t, "#!/bin/sh\necho it runs\n")
	parent := filepath.Join(t.TempDir(), "home", "program")
	paths := make(chan string, 20)
	var group sync.WaitGroup
	for range cap(paths) {
		group.Go(func() {
			path, err := program(from, parent)
			if err != nil {
				t.Error(err)
			}
			paths <- path
		})
	}
	group.Wait()
	close(paths)
	// A process that is started while another goroutine here writes has that file
	// open for a moment, and the system runs no file that is open for writing.
	for path := range paths {
		if out, err := exec.Command(path).CombinedOutput(); err != nil || string(out) != "it runs\n" {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 1 || entries[0].Name() != "sero-1" {
		t.Errorf("%s holds %v, %v", parent, entries, err)
	}
	if info, err := os.Stat(filepath.Dir(parent)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the home that it made is %v, %v", info.Mode(), err)
	}
}

func TestProgramThatCannotBeWritten(t *testing.T) {
	for name, from := range map[string]fs.FS{
		"built without it": fstest.MapFS{"bin/README": {}},
		"damaged":          fstest.MapFS{"bin/sero-1.gz": {Data: []byte("no gzip")}},
	} {
		parent := filepath.Join(t.TempDir(), "program")
		path, err := program(from, parent)
		if path != "" || driver.ReasonOf(err) != daemonclient.DaemonFailed {
			t.Errorf("%s: %q, %v", name, path, err)
		}
		if left, _ := filepath.Glob(filepath.Join(parent, "*")); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
	_, err := program(fstest.MapFS{"bin/README": {}}, t.TempDir())
	if e := driver.AsError(err); len(e.Remedies) == 0 || !strings.Contains(e.Remedies[0].Text, "make build") {
		t.Errorf("%v has no remedy", err)
	}
}
