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
		"\x11\x10\x10x\x10\x11": {"\x11\x10\x10x", ErrDetached},
	} {
		for _, from := range []io.Reader{iotest.OneByteReader(newText(typed)), newText(typed)} {
			got, err := io.ReadAll(&detachReader{from: from, keys: keys})
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
