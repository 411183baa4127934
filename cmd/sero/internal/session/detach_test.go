package session

import (
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestDetachKeys(t *testing.T) {
	keys, err := ParseDetachKeys(DefaultDetachKeys)
	if err != nil || string(keys) != "\x10\x11" {
		t.Fatalf("%q, %v", keys, err)
	}
	for typed, want := range map[string]struct {
		text string
		err  error
	}{
		"ls\n":                  {"ls\n", nil},
		"ls\x10\x11more":        {"ls", ErrDetached},
		"\x10\x10\x11":          {"\x10", ErrDetached},
		"\x10a\x10b":            {"\x10a\x10b", nil},
		"a\x10":                 {"a\x10", nil}, // the end of what is typed
		"\x11\x10\x10x\x10\x11": {"\x11\x10\x10x", ErrDetached},
	} {
		for _, from := range []io.Reader{iotest.OneByteReader(newText(typed)), newText(typed)} {
			got, err := io.ReadAll(newDetachReader(t.Context(), from, keys))
			if string(got) != want.text || !errors.Is(err, want.err) {
				t.Errorf("B40: %q gives %q, %v", typed, got, err)
			}
		}
	}
	for _, wrong := range []string{"", "ctrl-", "ctrl-1", "ab", "a,,b"} {
		if keys, err := ParseDetachKeys(wrong); err == nil {
			t.Errorf("%q is %q", wrong, keys)
		}
	}
}

// B: a first key of the detach keys that no other follows is the command's.
func TestBDetachKeyIsReleased(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	d := newDetachReader(t.Context(), r, []byte("\x10\x11"))
	go func() { _, _ = io.WriteString(w, "\x10") }()
	buf := make([]byte, 10)
	if n, err := d.Read(buf); string(buf[:n]) != "\x10" || err != nil {
		t.Errorf("%q, %v", buf[:n], err)
	}
	go func() { _, _ = io.WriteString(w, "\x10\x11") }()
	if n, err := d.Read(buf); n != 0 || !errors.Is(err, ErrDetached) {
		t.Errorf("%q, %v", buf[:n], err)
	}
}

func newText(s string) io.Reader { return iotest.DataErrReader(&text{s}) }

type text struct{ rest string }

func (t *text) Read(p []byte) (int, error) {
	if t.rest == "" {
		return 0, io.EOF
	}
	n := copy(p, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}
