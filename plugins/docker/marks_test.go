package docker

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB39MarkedOutput cuts a command's output in all kinds of pieces: what the
// caller gets is what the command wrote, to the byte.
func TestB39MarkedOutput(t *testing.T) {
	mark := newMark()
	payloads := map[string]string{
		"nothing":       "",
		"text":          "hello\nworld",
		"mark's begin":  mark[:1] + mark[:5] + mark[:len(mark)-1],
		"nearly a mark": strings.Repeat(mark[:len(mark)-1]+"x", 300),
		"binary":        binary(9000),
	}
	for name, payload := range payloads {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(50) {
				text := mark + ":17:18\r\n" + payload + mark + ":e7\r\n" + "left behind"
				var out bytes.Buffer
				var begin, end string
				m := &marked{
					mark: []byte(mark), terminal: true, out: &out, lost: func(err error) { t.Error(err) },
					began: func(line string) error { begin = line; return nil }, ended: func(line string) { end = line },
				}
				err := inPieces(m, text, rand.New(rand.NewPCG(seed, 1))) //nolint:gosec // it is the same every time
				m.close()
				if out.String() != payload || begin != mark+":17:18\r" || end != "e7" || !errors.Is(err, errEnded) {
					t.Fatalf("seed %d: begin %q, end %q, error %v, %d bytes of %d", seed, begin, end, err, out.Len(), len(payload))
				}
			}
		})
	}
}

func inPieces(m *marked, text string, random *rand.Rand) error {
	for text != "" {
		n := min(len(text), 1+random.IntN(40))
		if _, err := m.Write([]byte(text[:n])); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

func binary(n int) string {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // it is the same every time
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return string(b)
}

// TestB39NothingIsHeldBack shows that a caller who waits for an answer gets it: a
// piece that ends like the beginning of a mark is passed on at once.
func TestB39NothingIsHeldBack(t *testing.T) {
	var out bytes.Buffer
	m := &marked{mark: []byte(newMark()), out: &out}
	if _, err := m.Write([]byte("answer\x1e")); err != nil || out.String() != "answer\x1e" {
		t.Errorf("passed on: %q, %v", out.String(), err)
	}
}

func TestStatusOf(t *testing.T) {
	for end, want := range map[string]driver.ExitStatus{
		"e0": {}, "e137": {Code: 137}, "e255": {Code: 255}, "s9": {Signal: "SIGKILL"}, "s36": {Signal: "SIGRTMIN+2"},
		"s9m": {Signal: "SIGKILL", OutOfMemory: true}, "e137m": {Code: 137, OutOfMemory: true},
	} {
		if got, ok := statusOf(end); !ok || got != want {
			t.Errorf("%s: %+v, %t", end, got, ok)
		}
	}
	for _, end := range []string{"", "e", "m", "em", "e256", "x1", "e-1", "eone"} {
		if got, ok := statusOf(end); ok {
			t.Errorf("%q is taken for %+v", end, got)
		}
	}
}
