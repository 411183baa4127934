package unpack_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/sero-labs/sero-runtime/internal/ownpath"
	"github.com/sero-labs/sero-runtime/internal/unpack"
)

const content = "#!/bin/sh\necho it runs\n"

func packed(t *testing.T, withSum bool) fstest.MapFS {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	from := fstest.MapFS{"bin/p.gz": {Data: b.Bytes()}}
	if withSum {
		sum := sha256.Sum256([]byte(content))
		from["bin/p"+unpack.SumSuffix] = &fstest.MapFile{Data: []byte(hex.EncodeToString(sum[:]) + "\n")}
	}
	return from
}

// TestA6ProgramsAreVerified spoils what was unpacked: what is ours is written anew,
// what is not is refused.
func TestA6ProgramsAreVerified(t *testing.T) {
	type spoil struct {
		how     func(dir, file string) error
		refused bool
	}
	spoils := map[string]spoil{
		"benign":            {how: func(_, _ string) error { return nil }},
		"cut":               {how: func(_, file string) error { return os.Truncate(file, 7) }},
		"empty":             {how: func(_, file string) error { return os.Truncate(file, 0) }},
		"longer":            {how: func(_, file string) error { return os.WriteFile(file, []byte(content+"x"), 0o755) }},
		"changed":           {how: func(_, file string) error { return os.WriteFile(file, []byte("#!/bin/sh\necho it RUNS\n"), 0o755) }},
		"not executable":    {how: func(_, file string) error { return os.Chmod(file, 0o644) }},
		"closed":            {how: func(_, file string) error { return os.Chmod(file, 0) }},
		"open":              {how: func(_, file string) error { return os.Chmod(file, 0o777) }},
		"gone":              {how: func(_, file string) error { return os.Remove(file) }},
		"a link":            {refused: true, how: func(_, file string) error { return errors.Join(os.Remove(file), os.Symlink("/bin/true", file)) }},
		"a pipe":            {refused: true, how: func(_, file string) error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o755)) }},
		"a directory":       {refused: true, how: func(_, file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o755)) }},
		"an open directory": {refused: true, how: func(dir, _ string) error { return os.Chmod(dir, 0o777) }},
		"a linked directory": {refused: true, how: func(dir, _ string) error {
			return errors.Join(os.Rename(dir, dir+"2"), os.Symlink(dir+"2", dir))
		}},
	}
	if os.Geteuid() == 0 {
		spoils["a stranger's"] = spoil{refused: true, how: func(_, file string) error { return os.Chown(file, 48213, -1) }}
		spoils["a stranger's directory"] = spoil{refused: true, how: func(dir, _ string) error { return os.Chown(dir, 48213, -1) }}
	}
	tried, accepted := 0, 0
	for name, s := range spoils {
		for _, withSum := range []bool{false, true} {
			from, parent := packed(t, withSum), filepath.Join(t.TempDir(), "parent")
			dir, err := unpack.Write(from, map[string]string{"p": "bin/p.gz"}, parent, "id")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "p")
			before, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.how(dir, file); err != nil {
				t.Fatal(err)
			}
			tried++
			_, err = unpack.Write(from, map[string]string{"p": "bin/p.gz"}, parent, "id")
			if _, problem := errors.AsType[*ownpath.Problem](err); problem != s.refused || (err == nil) == s.refused {
				accepted++
				t.Errorf("%s: %v", name, err)
			}
			if s.refused {
				continue
			}
			text, err := os.ReadFile(file)
			info, statErr := os.Stat(file)
			if err := errors.Join(err, statErr); err != nil || string(text) != content || info.Mode() != fs.FileMode(0o755) {
				accepted++
				t.Errorf("%s: then it is %q, %v, %v", name, text, info, err)
			}
			if same := statErr == nil && os.SameFile(before, info); name == "benign" && !same {
				t.Error("what was right was written anew")
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
				t.Errorf("%s: left %v", name, left)
			}
		}
	}
	t.Logf("A6, programs: tried %d, accepted %d; benign twins 2", tried-2, accepted)
}
