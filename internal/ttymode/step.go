package ttymode

// Step is what a Tracker has followed at once: text, or one sequence.
type Step struct {
	Taken int    // bytes of the output
	Pass  []byte // what the terminal of who writes is to get; valid until the next Step
	Safe  bool   // no terminal answers it
	Draw  bool   // it draws on the screen, or moves the cursor
	Part  bool   // it is of a string that is too long to be held; see Passing
	Query *Query // what the program asks; nil for nothing
	Title []byte // the title that the program sets; nil for none
}

// Own reports whether the session answers, whatever terminals look at it.
func (s *Step) Own() bool { return s.Query != nil && s.Query.own() }

// Step follows output that is clean already, as far as it is one piece.
func (t *Tracker) Step(p []byte) Step {
	piece, n, ok := t.splitter.next(p)
	step := Step{Taken: n}
	if !ok {
		return step
	}
	t.pass, t.query, t.draws = piece.bytes, nil, false
	switch piece.kind {
	case text:
		t.execute(piece.bytes[0])
		step.Draw = t.query == nil
		step.Safe = step.Draw
	case escape, control:
		t.draws = piece.kind == escape
		for _, b := range piece.bytes {
			t.parser.Advance(b)
		}
		step.Draw = t.draws && t.query == nil && len(t.pass) > 0
		step.Safe = step.Draw || t.titled
		t.titled = false
	case command:
		number, argument := osc(body(piece.bytes))
		t.command(number, argument)
		if oscAsks(number, argument) {
			t.query = &Query{OSC: max(number, 0), Data: string(argument)}
		}
		step.Safe, step.Draw = oscSafe(number, argument), number == 8
		if number == 0 || number == 2 {
			step.Title = append([]byte{}, argument...)
		}
	case device:
		data := body(piece.bytes)
		if dcsAsks(data) {
			t.query = &Query{Key: "P", Data: string(data)}
		}
		step.Safe = dcsSafe(data)
	case part:
		step.Part = true
	case other:
	}
	step.Pass, step.Query = t.pass, t.query
	if step.Own() {
		step.Pass = nil
	}
	return step
}

// Passing reports whether the output so far ends within a string that is too long
// to be held.
func (t *Tracker) Passing() bool { return t.splitter.state >= inPassing }
