package devserver

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

func TestGuessName(t *testing.T) {
	for command, want := range map[string]string{
		"npm run dev":                             "dev",
		"npx vite --port 3000":                    "vite",
		"pnpm dlx next@15 dev":                    "next",
		"./node_modules/.bin/react-scripts start": "react-scripts",
		"node server.js":                          "server",
		"node --watch src/Main.mjs":               "main",
		"python3 -m http.server 8000":             "http-server",
		"PORT=3 go run ./cmd/api":                 "api",
		"sh -c 'storybook dev -p 6006'":           "storybook",
		"3000":                                    "server",
		"npm":                                     "npm",
		"日本":                                      "server",
	} {
		if got := guessName(strings.Fields(strings.ReplaceAll(command, "'", ""))); got != want {
			t.Errorf("%s: %s, want %s", command, got, want)
		}
	}
	taken := map[string]bool{"web": true, "web-2": true}
	if got := uniqueName("web", func(s string) bool { return taken[s] }); got != "web-3" {
		t.Error(got)
	}
	if got := uniqueName(strings.Repeat("a", 40), func(s string) bool { return len(s) == 40 && !strings.Contains(s, "-") }); len(got) > 40 || !validName().MatchString(got) {
		t.Error(got)
	}
}

// Listeners that come together are seen in any order, and the port that was seen
// first stays.
func TestPickOfSeveral(t *testing.T) {
	several := []driver.Listener{{Port: 40123}, {Port: 24678}, {Port: 5173}, {Port: 9229}, {Port: 6006}}
	for range several {
		for current, want := range map[uint16]uint16{0: 5173, 24678: 24678, 9229: 5173, 4000: 5173} {
			if got, class := pick(several, 0, current); got != want || class != classOrdinary {
				t.Errorf("of %v, where it was %d: %d of class %d, want %d", several, current, got, class, want)
			}
		}
		several = append(several[1:], several[0])
	}
}

func TestOutputLog(t *testing.T) {
	var l outputLog
	var all bytes.Buffer
	read := func(position int64) string {
		var got bytes.Buffer
		if err := l.read(t.Context(), position, false, func(p []byte) error { got.Write(p); return nil }); err != nil {
			t.Fatal(err)
		}
		return got.String()
	}
	for i := range 100_000 {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", i%50))
		all.WriteString(line)
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		if i == 10 || i == 3000 {
			if got := read(0); got != all.String() {
				t.Fatalf("after %d lines: %d bytes of %d", i, len(got), all.Len())
			}
		}
	}
	kept := all.Bytes()[all.Len()-logSize:]
	lost := fmt.Sprintf("\n[sero] %d bytes of output are not kept any more\n", all.Len()-logSize)
	if got := read(0); got != lost+string(kept) {
		t.Errorf("%d bytes, beginning %q", len(got), got[:80])
	}
	if got := read(l.tail(0, 0)); got != string(kept) {
		t.Errorf("all that is kept: %d bytes", len(got))
	}
	if got := read(l.tail(2, 0)); strings.Count(got, "\n") != 2 || !strings.HasSuffix(all.String(), got) || !strings.HasPrefix(got, "line 99998 ") {
		t.Errorf("%q", got)
	}
	huge := bytes.Repeat([]byte("0123456789"), logSize/5)
	if _, err := l.Write(huge); err != nil {
		t.Fatal(err)
	}
	if got := read(l.tail(1, 0)); got != string(huge[len(huge)-logSize:]) {
		t.Errorf("a line longer than the log: %d bytes", len(got))
	}
}

func TestOutputLogTail(t *testing.T) {
	for text, want := range map[string]string{"": "", "a": "a", "a\n": "a\n", "a\nb": "a\nb", "a\nb\nc\n": "b\nc\n", "\n\n\n": "\n\n"} {
		var l outputLog
		_, _ = l.Write([]byte(text))
		var got strings.Builder
		_ = l.read(t.Context(), l.tail(2, 0), false, func(p []byte) error { got.Write(p); return nil })
		if got.String() != want {
			t.Errorf("%q: %q, want %q", text, got.String(), want)
		}
	}
	var l outputLog
	_, _ = l.Write([]byte("old\n"))
	since := l.position()
	_, _ = l.Write([]byte("new \xff\r\n" + strings.Repeat("y", 1000)))
	if got := l.lastLines(20, since); len(got) != 2 || got[0] != "new \uFFFD" || len(got[1]) > 510 {
		t.Errorf("%q", got)
	}
}

func TestOutputLogFollowersEnd(t *testing.T) {
	var l outputLog
	done := make(chan error)
	go func() {
		done <- l.read(context.WithoutCancel(t.Context()), 0, true, func([]byte) error { return nil })
	}()
	_, _ = l.Write([]byte("x"))
	l.close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
