package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What was read is used again only while nothing about the file has changed.
func TestReaderSeesEachChange(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, FileName)
	var r Reader
	want := func(image string) {
		t.Helper()
		for range 3 { // also when it is kept
			w, err := r.LoadWorkspace(dir)
			if err != nil || w.Image != image {
				t.Fatalf("%q, %v, want %q", w.Image, err, image)
			}
		}
	}
	write := func(to, image string) {
		t.Helper()
		if err := os.WriteFile(to, []byte(`{"image": "`+image+`"}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want("")
	write(name, "one")
	want("one")
	write(name, "two") // as long, and maybe at the same time
	want("two")
	r.unsure = -time.Hour // keep what was just written
	want("two")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	want("two")
	write(name, "six")
	if err := os.Chtimes(name, old, old); err != nil { // of the same length and time
		t.Fatal(err)
	}
	want("six")
	write(name+".new", "ten")
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	want("ten")
	if err := os.WriteFile(name, []byte(`{"image": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.LoadWorkspace(dir); err == nil {
		t.Error("a broken file was not seen")
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	want("")
	elsewhere := filepath.Join(dir, "real.json")
	write(elsewhere, "one")
	if err := os.Symlink("real.json", name); err != nil {
		t.Fatal(err)
	}
	want("one")
	write(elsewhere, "two") // the link stays as it is
	want("two")
}
