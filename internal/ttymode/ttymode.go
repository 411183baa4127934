// Package ttymode knows in which state a program has put a terminal: modes, the
// alternate screen, keyboard protocols, margins, character sets, colours. It knows
// the sequences that bring a fresh terminal there, and those that lead back.
package ttymode

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// Bounds of what is kept, for the program may be hostile.
const (
	maxKept  = 256
	maxValue = 65535
	maxDepth = 32
	maxPen   = 512
)

// Tracker follows the output of one program. It is not safe for concurrent use.
type Tracker struct {
	cleaner  Cleaner
	splitter *splitter
	parser   *ansi.Parser // of control sequences
	pass     []byte       // the piece, less what is the session's own
	query    *Query       // that the piece is
	draws    bool         // the piece does
	titled   bool         // the piece puts a title aside, or takes it back

	private, saved, standard map[int]bool // modes that were set or reset: DEC's, those kept by XTSAVE, ANSI's
	resources                map[int]int  // of the keyboard, XTMODKEYS
	colours                  map[int]bool // by the OSC that resets them
	kitty                    [2]keyboard  // of the main and of the alternate screen
	alternate                int          // the mode that switched it on, 0 for the main screen
	keypad                   bool
	cursor                   int // its style
	top, bottom              int // margins, 0 for none
	sets                     [4]byte
	shift                    byte
	titles                   int // that were put aside
	link, tabs               bool
	pen                      string
}

// keyboard is a stack of kitty's flags.
type keyboard struct {
	flags int
	stack []int
}

// New makes a Tracker of a terminal in its initial state.
func New() *Tracker {
	t := &Tracker{parser: ansi.NewParser(), splitter: &splitter{}}
	t.clear()
	t.parser.SetDataSize(1)
	t.parser.SetHandler(ansi.Handler{HandleEsc: t.escape, HandleCsi: t.control})
	return t
}

func (t *Tracker) clear() {
	*t = Tracker{
		cleaner: t.cleaner, splitter: t.splitter, parser: t.parser, titles: t.titles, pass: t.pass, query: t.query, draws: t.draws,
		private: map[int]bool{}, saved: map[int]bool{}, standard: map[int]bool{}, resources: map[int]int{}, colours: map[int]bool{},
	}
}

// Write follows the next piece of output.
func (t *Tracker) Write(p []byte) (int, error) {
	for rest := t.cleaner.Clean(p); len(rest) > 0; {
		rest = rest[t.Step(rest).Taken:]
	}
	return len(p), nil
}

// Pen is the sequences that choose the colours in which the program writes.
func (t *Tracker) Pen() string { return t.pen }

// paint keeps the colours that are on.
func (t *Tracker) paint(params ansi.Params) {
	var b strings.Builder
	for i := range params {
		n, more, _ := params.Param(i, 0)
		if n == 0 && len(params) == 1 {
			break
		}
		fmt.Fprintf(&b, "%d", n)
		if i < len(params)-1 {
			b.WriteByte(";:"[btoi(more)])
		}
	}
	if b.Len() == 0 {
		t.pen = ""
		return
	}
	sequence := "\x1b[" + b.String() + "m"
	if strings.HasPrefix(b.String(), "0;") || len(t.pen)+len(sequence) > maxPen {
		t.pen = ""
	}
	t.pen += sequence
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Whole reports whether the output so far does not end within a sequence.
func (t *Tracker) Whole() bool {
	return t.splitter.state == ground && len(t.cleaner.part) == 0
}

// Alternate is the mode that switched the alternate screen on; 0 for the main one.
func (t *Tracker) Alternate() int { return t.alternate }

// Margins are the first and the last line that scroll, from 1; 0 for all.
func (t *Tracker) Margins() (top, bottom int) { return t.top, t.bottom }

// Private reports how the program left one of DEC's modes.
func (t *Tracker) Private(mode int) bool {
	on, known := t.private[mode]
	return on || !known && usual(mode)
}

// Standard reports how the program left one of ANSI's modes.
func (t *Tracker) Standard(mode int) bool { return t.standard[mode] }

// Known reports whether the program has set or reset one of DEC's modes.
func (t *Tracker) Known(mode int) bool {
	_, known := t.private[mode]
	return known && mode != inBand || usual(mode)
}

// Keyboard is the flags of kitty's protocol.
func (t *Tracker) Keyboard() int { return t.kitty[t.screen()].flags }

// usual reports whether a mode is on in a fresh terminal: autowrap, repeat, cursor.
func usual(mode int) bool { return mode == 7 || mode == 8 || mode == 25 }

func (t *Tracker) screen() int {
	if t.alternate != 0 {
		return 1
	}
	return 0
}

func (t *Tracker) execute(b byte) {
	switch b {
	case so:
		t.shift = 1
	case si:
		t.shift = 0
	case enq:
		t.query = &Query{Key: "\x05"}
	}
}

func (t *Tracker) escape(cmd ansi.Cmd) {
	final := cmd.Final()
	switch set := strings.IndexByte("()*+", cmd.Intermediate()); {
	case cmd.Intermediate() != 0 && set >= 0:
		t.sets[set] = final
	case cmd.Intermediate() != 0:
	case final == '=' || final == '>':
		t.keypad = final == '='
	case final == 'n' || final == 'o':
		t.shift = final - 'n' + 2
	case final == 'H':
		t.tabs = true
	case final == 'Z':
		t.query = &Query{Key: "Z"}
	case final == 'c':
		t.clear()
	}
}

func (t *Tracker) control(cmd ansi.Cmd, params ansi.Params) {
	n := value(params, 0, 0)
	key := strings.ReplaceAll(string(cmd.Prefix())+string(cmd.Intermediate())+string(cmd.Final()), "\x00", "")
	if csiAsks(key, n) {
		t.query = &Query{Key: key, Params: numbers(params)}
		return
	}
	t.draws = csiDraws(key)
	switch key {
	case "?h", "?l":
		each(params, func(mode int) {
			t.set(mode, cmd.Final() == 'h')
			if mode == inBand && len(t.pass) > 0 {
				t.pass = without(t.pass, strconv.Itoa(inBand))
			}
		})
	case "h", "l":
		each(params, func(mode int) { keep(t.standard, mode, cmd.Final() == 'h') })
	case "?s":
		each(params, func(mode int) { keep(t.saved, mode, t.Private(mode)) })
	case "?r":
		each(params, func(mode int) {
			if on, known := t.saved[mode]; known {
				t.set(mode, on)
			}
		})
	case " q":
		t.cursor = n
	case "r":
		t.top, t.bottom = n, value(params, 1, 0)
	case "m":
		t.paint(params)
	case ">m":
		if len(params) > 1 {
			keep(t.resources, n, value(params, 1, 0))
		} else {
			delete(t.resources, n)
		}
	case ">n":
		delete(t.resources, n)
	case ">u", "<u", "=u":
		t.kitty[t.screen()].change(cmd.Prefix(), params)
	case "!p":
		t.soft()
	case "g":
		t.tabs = true
	case "?W":
		t.tabs = false
	case "t":
		t.titled = n == 22 || n == 23
		switch n {
		case 22:
			t.titles = min(t.titles+1, maxDepth)
		case 23:
			t.titles = max(t.titles-1, 0)
		}
	}
}

// soft is a soft reset.
func (t *Tracker) soft() {
	for _, mode := range []int{1, 6, 7, 25, 66, 69} {
		delete(t.private, mode)
	}
	delete(t.standard, 4)
	t.keypad, t.top, t.bottom, t.sets, t.shift, t.pen = false, 0, 0, [4]byte{}, 0, ""
}

func (t *Tracker) set(mode int, on bool) {
	switch mode {
	case 47, 1047, 1049:
		t.alternate = 0
		if on {
			t.alternate = mode
		}
	case 1048, 3: // the cursor's place, which is none of these; what clears the screen
	default:
		keep(t.private, mode, on)
	}
}

func (k *keyboard) change(prefix byte, params ansi.Params) {
	switch n := value(params, 0, 0); prefix {
	case '>':
		if len(k.stack) < maxDepth {
			k.stack = append(k.stack, k.flags)
		}
		k.flags = n
	case '<':
		for range min(max(n, 1), len(k.stack)) {
			k.flags, k.stack = k.stack[len(k.stack)-1], k.stack[:len(k.stack)-1]
		}
	case '=':
		switch value(params, 1, 1) {
		case 1:
			k.flags = n
		case 2:
			k.flags |= n
		case 3:
			k.flags &^= n
		}
	}
}

// inBand is the mode in which a terminal types its size at once, and whenever that
// changes. A session's terminal does not know it: the size is the session's, not that
// of a terminal that looks.
const inBand = 2048

func numbers(params ansi.Params) (out []int) {
	for i := range params {
		out = append(out, value(params, i, -1))
	}
	return out
}

// command takes an OSC: colours, the pointer's shape, links.
func (t *Tracker) command(number int, argument []byte) {
	switch {
	case oscAsks(number, argument):
	case number == 8:
		_, target, _ := bytes.Cut(argument, []byte(";"))
		t.link = len(target) > 0
	case number == 4 || number == 5 || number >= 10 && number <= 19:
		t.colours[number+100] = true
	case number == 22:
		t.colours[22] = len(argument) > 0
	case number >= 104 && number <= 119:
		delete(t.colours, number)
	}
}

// value is a parameter, or def.
func value(params ansi.Params, i, def int) int {
	n, _, _ := params.Param(i, def)
	if n < 0 || n > maxValue {
		return def
	}
	return n
}

func each(params ansi.Params, f func(int)) {
	for i := range params {
		if n := value(params, i, 0); n > 0 {
			f(n)
		}
	}
}

func keep[V any](in map[int]V, key int, v V) {
	if _, known := in[key]; known || len(in) < maxKept {
		in[key] = v
	}
}

// Set brings a fresh terminal, in the screen that is shown, into the state that
// the program has left. It moves the cursor.
func (t *Tracker) Set() string {
	var b strings.Builder
	for _, mode := range slices.Sorted(maps.Keys(t.private)) {
		if t.private[mode] != usual(mode) && mode != 2026 && mode != inBand {
			fmt.Fprintf(&b, "\x1b[?%d%c", mode, letter(t.private[mode]))
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(t.standard)) {
		if t.standard[mode] {
			fmt.Fprintf(&b, "\x1b[%dh", mode)
		}
	}
	if t.keypad {
		b.WriteString("\x1b=")
	}
	for i, set := range t.sets {
		if set != 0 && set != 'B' {
			b.WriteString("\x1b" + string("()*+"[i]) + string(set))
		}
	}
	if t.shift > 0 {
		b.WriteString([]string{"", "\x0e", "\x1bn", "\x1bo"}[t.shift])
	}
	if t.top > 0 || t.bottom > 0 {
		fmt.Fprintf(&b, "\x1b[%d;%dr", max(t.top, 1), t.bottom)
	}
	if t.cursor > 0 {
		fmt.Fprintf(&b, "\x1b[%d q", t.cursor)
	}
	for _, resource := range slices.Sorted(maps.Keys(t.resources)) {
		fmt.Fprintf(&b, "\x1b[>%d;%dm", resource, t.resources[resource])
	}
	k := t.kitty[t.screen()]
	for _, flags := range append(slices.Clone(k.stack), k.flags)[min(1, len(k.stack)):] {
		if len(k.stack) > 0 {
			fmt.Fprintf(&b, "\x1b[>%du", flags)
		} else if flags != 0 {
			fmt.Fprintf(&b, "\x1b[=%du", flags)
		}
	}
	return b.String()
}

// Undo leads back to a fresh terminal. It is empty where nothing was changed.
func (t *Tracker) Undo() string {
	var b strings.Builder
	if !t.Whole() {
		b.WriteByte(0x18) // CAN ends what is unfinished
	}
	if t.link {
		b.WriteString("\x1b]8;;\x1b\\")
	}
	t.kitty[t.screen()].undo(&b)
	for _, mode := range slices.Backward(slices.Sorted(maps.Keys(t.private))) {
		if t.private[mode] != usual(mode) {
			fmt.Fprintf(&b, "\x1b[?%d%c", mode, letter(!t.private[mode]))
		}
	}
	for _, mode := range slices.Sorted(maps.Keys(t.standard)) {
		if t.standard[mode] {
			fmt.Fprintf(&b, "\x1b[%dl", mode)
		}
	}
	if t.keypad {
		b.WriteString("\x1b>")
	}
	for _, resource := range slices.Sorted(maps.Keys(t.resources)) {
		fmt.Fprintf(&b, "\x1b[>%dm", resource)
	}
	for i, set := range t.sets {
		if set != 0 && set != 'B' {
			b.WriteString("\x1b" + string("()*+"[i]) + "B")
		}
	}
	if t.shift > 0 {
		b.WriteByte(0x0f)
	}
	if t.alternate != 0 {
		fmt.Fprintf(&b, "\x1b[?%dl", t.alternate)
		t.kitty[0].undo(&b)
	}
	if t.top > 1 || t.bottom > 0 {
		b.WriteString("\x1b7\x1b[r\x1b8") // it moves the cursor
	}
	t.undoLooks(&b)
	return b.String()
}

// undoLooks is Undo for what is seen.
func (t *Tracker) undoLooks(b *strings.Builder) {
	if t.pen != "" {
		b.WriteString("\x1b[m")
	}
	if t.cursor > 0 {
		b.WriteString("\x1b[0 q")
	}
	for _, number := range slices.Sorted(maps.Keys(t.colours)) {
		switch {
		case number == 22 && t.colours[22]:
			b.WriteString("\x1b]22;\x1b\\")
		case number != 22:
			fmt.Fprintf(b, "\x1b]%d\x1b\\", number)
		}
	}
	if t.tabs {
		b.WriteString("\x1b[?5W")
	}
	b.WriteString(strings.Repeat("\x1b[23;0t", t.titles))
}

func (k *keyboard) undo(b *strings.Builder) {
	if len(k.stack) > 0 {
		fmt.Fprintf(b, "\x1b[<%du", len(k.stack))
	}
	if len(k.stack) == 0 && k.flags != 0 || len(k.stack) > 0 && k.stack[0] != 0 {
		b.WriteString("\x1b[=0u")
	}
}

func letter(on bool) byte {
	if on {
		return 'h'
	}
	return 'l'
}
