package fake

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// ruleBook counts calls and tells which rules apply to one.
type ruleBook struct {
	mu    sync.Mutex
	rules []Rule
	seen  []int // matching calls, by rule
}

func newRuleBook(rules []Rule) *ruleBook {
	return &ruleBook{rules: rules, seen: make([]int, len(rules))}
}

// take gives the rules in force for this call.
func (b *ruleBook) take(call, sandbox string) []Rule {
	b.mu.Lock()
	defer b.mu.Unlock()
	var due []Rule
	for i, r := range b.rules {
		if (r.Call != call && r.Call != "*") || (r.Sandbox != "" && r.Sandbox != sandbox) {
			continue
		}
		b.seen[i]++
		first := max(1, r.Nth)
		if b.seen[i] >= first && (r.Times == 0 || b.seen[i] < first+r.Times) {
			due = append(due, r)
		}
	}
	return due
}

// step is one call under its rules.
type step struct {
	d     *Driver
	rules []Rule
}

// begin counts a call, does what its rules want first, and gives their error.
func (d *Driver) begin(ctx context.Context, call, sandbox string) (step, error) {
	if d.dead.Load() {
		return step{}, errDead()
	}
	d.mu.Lock()
	book := d.book
	d.mu.Unlock()
	s := step{d: d, rules: book.take(call, sandbox)}
	d.count(call)
	for _, r := range s.rules {
		if err := d.obey(ctx, call, r); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (d *Driver) obey(ctx context.Context, call string, r Rule) error {
	if r.Delay > 0 {
		if err := d.clock().Sleep(ctx, time.Duration(r.Delay)); err != nil {
			return err
		}
	}
	if r.Crash == "before" {
		d.crash()
		return errDead()
	}
	if r.Hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if f := r.Error; f != nil {
		return &driver.Error{
			Reason:    f.Reason,
			Message:   cmp.Or(f.Message, "scripted failure of "+call),
			Resource:  f.Resource,
			Field:     f.Field,
			Retryable: f.Retryable,
			Remedies:  f.Remedies,
		}
	}
	return nil
}

// sandbox changes a reply as the rules want, and crashes after it.
func (s step) sandbox(sb driver.Sandbox) driver.Sandbox {
	for _, r := range s.rules {
		if r.State != nil {
			sb.State = driver.SandboxState(*r.State)
		}
		if r.ID != "" {
			sb.ID = r.ID
		}
	}
	s.end()
	return sb
}

// end crashes after the call, if a rule wants it. In a process the reply is on
// its way by then; in a test's own process the driver is dead from now on.
func (s step) end() {
	for _, r := range s.rules {
		if r.Crash == "after" {
			s.d.crashSoon()
		}
	}
}

func (s step) progress(report func(driver.Progress), usual ...driver.Progress) {
	for _, r := range s.rules {
		if r.Progress != nil {
			usual = r.Progress
		}
	}
	for _, p := range usual {
		report(p)
	}
}

// drop is after how many bytes of output an Exec is lost; negative: never.
func (s step) drop() int64 {
	for _, r := range s.rules {
		if r.Drop != nil {
			return *r.Drop
		}
	}
	return -1
}

func errDead() error {
	return &driver.Error{Reason: driver.DriverCrashed, Message: "the fake driver has crashed, as its script says", Retryable: true}
}
