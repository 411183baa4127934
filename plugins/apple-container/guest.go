package applecontainer

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// What runs in a sandbox around a command: shell, for that is what every image
// has. They need no more than a POSIX shell and, where there is one, setsid.
var (
	//go:embed guest/exec.sh
	execScript string
	//go:embed guest/end.sh
	endScript string
	//go:embed guest/signal.sh
	signalScript string
	//go:embed guest/stop.sh
	stopScript string
)

// markLine is where a command's mark goes into execScript.
const markLine = "\n_s_k=MARK\n"

// comments are for readers of this repository, not for process listings.
var comments = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?m)^#.*\n`) })

func markedScript(mark string) string {
	return strings.Replace("\n"+comments().ReplaceAllString(execScript, ""), markLine, "\n_s_k="+mark+"\n", 1)
}

// header is the line that tells execScript what to run. It goes over standard
// input: nothing of it is on a command line of the host (B42), and it can hold
// any byte and be of any length, which a command line through the CLI cannot.
func header(spec driver.ExecSpec, input bool, dir, mark string) string {
	var b strings.Builder
	flag := func(name string, on bool) {
		b.WriteString(name + "=")
		if on {
			b.WriteByte('1')
		}
		b.WriteByte(' ')
	}
	flag("_s_tty", spec.Terminal != nil)
	flag("_s_detach", spec.Detach)
	flag("_s_in", input || spec.Terminal != nil)
	if t := spec.Terminal; t != nil {
		fmt.Fprintf(&b, "_s_rows=%d _s_cols=%d ", t.Rows, t.Cols)
	}
	fmt.Fprintf(&b, "_s_dir=%s; _s_env() { export SERO_EXEC=%s", quote(dir), mark)
	for _, v := range spec.Env {
		b.WriteString(" " + v.Name + "=" + quote(v.Value))
	}
	b.WriteString("; }; set --")
	for _, arg := range spec.Argv {
		b.WriteString(" " + quote(arg))
	}
	b.WriteByte('\n')
	return b.String()
}

// quote makes a word of a shell, on one line whatever is in it.
func quote(s string) string {
	return "'" + strings.NewReplacer("'", `'\''`, "\n", `'"$_s_n"'`).Replace(s) + "'"
}

// event is what execScript tells among the output.
type event struct {
	kind   byte // 'R', 'S', 'D', 'N', 'E', 'K' or 'Z'
	number int
}

// scanner parts output from what execScript tells in it. It holds back no byte
// that cannot be the beginning of a mark.
type scanner struct {
	mark  string
	held  []byte
	limit int
}

func newScanner(mark string) *scanner {
	return &scanner{mark: "\x1esero:" + mark + ":", limit: 16}
}

// feed takes output, and calls data and tell in the order of what is in it.
// Neither may keep what it is given.
func (s *scanner) feed(p []byte, data func([]byte) error, tell func(event) error) error {
	s.held = append(s.held, p...)
	for {
		at, whole := s.find()
		if at > 0 {
			if err := data(s.held[:at]); err != nil {
				return err
			}
			s.held = s.held[at:]
		}
		if !whole {
			s.held = append([]byte(nil), s.held...)
			return nil
		}
		text, _, ok := strings.Cut(string(s.held[len(s.mark):min(len(s.held), len(s.mark)+s.limit)]), ";")
		if !ok {
			if len(s.held) < len(s.mark)+s.limit {
				return nil // the rest of it is on its way
			}
			text = "" // a mark that the script did not write
		}
		s.held = s.held[len(s.mark)+len(text)+1:]
		if e, ok := parseEvent(text); ok {
			if err := tell(e); err != nil {
				return err
			}
		}
	}
}

// find is how much of what is held is output for sure, and whether a mark
// follows.
func (s *scanner) find() (at int, whole bool) {
	text := string(s.held)
	if i := strings.Index(text, s.mark); i >= 0 {
		return i, true
	}
	for n := min(len(s.mark)-1, len(text)); n > 0; n-- {
		if strings.HasPrefix(s.mark, text[len(text)-n:]) {
			return len(text) - n, false
		}
	}
	return len(text), false
}

// flush gives out what is held, for nothing more comes.
func (s *scanner) flush(data func([]byte) error) error {
	held := s.held
	s.held = nil
	if len(held) == 0 {
		return nil
	}
	return data(held)
}

func parseEvent(text string) (event, bool) {
	if text == "" {
		return event{}, false
	}
	e := event{kind: text[0]}
	if len(text) > 1 {
		n, err := strconv.Atoi(text[1:])
		if err != nil || n < 0 {
			return event{}, false
		}
		e.number = n
	}
	return e, strings.IndexByte("RSDNEKZ", e.kind) >= 0
}
