package conformance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

// labelRun marks every sandbox of one run of the suite.
const labelRun = "dev.sero.conformance"

// errDeadline is why a case's context ends.
var errDeadline = errors.New("the case took too long")

// runner is one run of the suite.
type runner struct {
	c     Config
	nonce string
	base  string // private directory, short enough for sockets below it
	seq   counter
	ports numbers // that were chosen

	shake  launch.Handshake
	health driver.Health
}

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	return c.n
}

func newRunner(c Config) (*runner, error) {
	path, err := filepath.Abs(c.Path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, driver.Errorf(driver.DriverNotFound, "there is no driver to test: %w", err).About(path)
	}
	c.Path = path
	base, err := os.MkdirTemp("/tmp", "sero-c-") // macOS's own temporary directory is too long for sockets
	if err != nil {
		return nil, err
	}
	if base, err = filepath.EvalSymlinks(base); err != nil {
		return nil, err
	}
	var nonce [4]byte
	_, _ = rand.Read(nonce[:]) // never fails
	return &runner{c: c, base: base, nonce: hex.EncodeToString(nonce[:])}, nil
}

func (r *runner) close() { _ = os.RemoveAll(r.base) }

// dir makes a new private directory.
func (r *runner) dir() string {
	dir := filepath.Join(r.base, fmt.Sprintf("%d", r.seq.next()))
	_ = os.Mkdir(dir, 0o700)
	return dir
}

func (r *runner) run(ctx context.Context) Report {
	started := time.Now()
	report := Report{
		Suite: Version, Protocol: launch.ProtocolVersion, Path: r.c.Path, SHA256: r.sha256(),
		OS: runtime.GOOS, Arch: runtime.GOARCH, Started: started,
	}
	cases := slices.DeleteFunc(Cases(), func(c Case) bool {
		return c.ID == startCase.ID || (r.c.Run != nil && !r.c.Run.MatchString(c.ID))
	})
	first := r.start(ctx)
	report.Results = append(report.Results, first)
	report.Driver, report.Version = r.shake.Info.Name, r.shake.Info.Version
	report.SDK = r.shake.SDKName + " " + r.shake.SDKVersion
	report.Capabilities, report.Engine = r.shake.Capabilities, r.health.Attributes
	report.Results = append(report.Results, r.all(ctx, cases, first.Verdict == Pass)...)
	for i, res := range report.Results {
		w, ok := r.c.Waivers[res.ID]
		if ok && res.Verdict == Fail && (w.Expires.IsZero() || time.Now().Before(w.Expires)) {
			report.Results[i].Verdict = Waived
			report.Results[i].Evidence = "waived: " + w.Reason + "\n" + res.Evidence
		}
	}
	report.Millis = time.Since(started).Milliseconds()
	report.judge(r.c.Run != nil)
	return report
}

func (r *runner) sha256() string {
	f, err := os.Open(r.c.Path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// startCase comes before all others: without it nothing can be tested.
var startCase = Case{
	ID: "START-1", Group: "wire",
	Must: "launched by sero, the binary prints go-plugin's handshake line and serves sero.driver.v1 over gRPC",
}

// start launches the driver once, to learn what it declares and how it is.
func (r *runner) start(ctx context.Context) Result {
	c := startCase
	c.Run = func(t T, s *Session) {
		p := s.Launch(t)
		r.shake = p.Handshake()
		ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(10*time.Second), errDeadline)
		defer cancel()
		err := p.Health(ctx, func(h driver.Health) error {
			r.health = h
			if h.State == driver.HealthUnknown { // from a newer driver
				return nil
			}
			return errSeen
		})
		t.Logf("%s %s; health %s %v", r.shake.Info.Name, r.shake.Info.Version, r.health.State, err)
	}
	w := &worker{r: r}
	return w.run(ctx, c)
}

// errSeen ends a stream that has shown what was looked for.
var errSeen = errors.New("seen enough")

// all runs the cases, some at once, and gives their results in their order.
func (r *runner) all(ctx context.Context, cases []Case, up bool) []Result {
	results := make([]Result, len(cases))
	for _, last := range []bool{false, true} {
		queue := make(chan int)
		var workers sync.WaitGroup
		n := r.c.Parallel
		if last {
			n = 1
		}
		for range n {
			workers.Go(func() {
				w := &worker{r: r}
				defer w.close()
				for i := range queue {
					results[i] = r.one(ctx, w, cases[i], up)
				}
			})
		}
		for i, c := range cases {
			if c.last == last {
				queue <- i
			}
		}
		close(queue)
		workers.Wait()
	}
	return results
}

// one runs a case unless something speaks against it.
func (r *runner) one(ctx context.Context, w *worker, c Case, up bool) Result {
	res := Result{ID: c.ID, Group: c.Group, Must: c.Must, Needs: c.Needs}
	for _, n := range c.Needs {
		if up && !slices.Contains(r.shake.Capabilities, n) {
			res.Verdict, res.Evidence = SkipUnclaimed, string(n)+" is not declared"
			return res
		}
	}
	switch {
	case !up:
		res.Verdict, res.Evidence = SkipEnvironment, "the driver does not start"
	case ctx.Err() != nil:
		res.Verdict, res.Evidence = SkipEnvironment, "the run was ended: "+context.Cause(ctx).Error()
	case c.engine && r.health.State != driver.HealthReady:
		res.Verdict, res.Evidence = SkipEnvironment, fmt.Sprintf("the runtime is %s: %s", r.health.State, r.health.Message)
	default:
		res = w.run(ctx, c)
	}
	return res
}

// worker runs cases one after the other on a driver process of its own, which
// it starts anew when a case has ended it.
type worker struct {
	r       *runner
	process *launch.Process
	raw     *raw // seen from the wire
}

// patience is how long a case may take to end once its deadline has passed and
// its drivers are dead.
const patience = 10 * time.Second

func (w *worker) run(ctx context.Context, c Case) Result {
	ctx, cancel := context.WithTimeoutCause(ctx, w.r.c.Timeout, errDeadline)
	defer cancel()
	s := &Session{Ctx: ctx, w: w, r: w.r}
	rec := &recorder{}
	done := make(chan struct{})
	began := time.Now()
	go rec.run(c, s, done)
	select {
	case <-done:
	case <-ctx.Done():
		w.insist(rec, s, done)
	}
	res := Result{ID: c.ID, Group: c.Group, Must: c.Must, Needs: c.Needs, Millis: time.Since(began).Milliseconds()}
	res.Verdict, res.Evidence = rec.outcome()
	w.r.c.Log.Info("case", "id", c.ID, "verdict", string(res.Verdict), "ms", res.Millis)
	return res
}

// insist ends a case that has passed its deadline: first its context ends, then
// its drivers are killed.
func (w *worker) insist(rec *recorder, s *Session, done <-chan struct{}) {
	wait := func(d time.Duration) bool {
		select {
		case <-done:
			return true
		case <-time.After(d):
			return false
		}
	}
	if wait(2 * time.Second) {
		rec.Errorf("%v (%s)", errDeadline, w.r.c.Timeout)
		return
	}
	rec.Errorf("%v (%s), and its calls do not end; the driver was killed", errDeadline, w.r.c.Timeout)
	s.killAll()
	if !wait(patience) {
		rec.Errorf("the case hangs and is left alone")
	}
}

// driver is the worker's process, alive.
func (w *worker) driver(ctx context.Context) (*launch.Process, error) {
	if w.process != nil {
		select {
		case <-w.process.Exited():
			w.close()
		default:
			return w.process, nil
		}
	}
	p, err := w.r.launch(ctx, launchOptions{})
	if err == nil {
		w.process = p
	}
	return p, err
}

func (w *worker) close() {
	if w.process != nil {
		closeProcess(w.process)
	}
	w.process = nil
	w.closeRaw()
}

func (w *worker) closeRaw() {
	if w.raw != nil {
		w.raw.close()
	}
	w.raw = nil
}

func closeProcess(p *launch.Process) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Second, errDeadline)
	defer cancel()
	_ = p.Close(ctx) // what it does wrong is a case of its own
}

// launchOptions is what a case changes about a launch.
type launchOptions struct {
	dir     string // for RunDir and TMPDIR; empty: a new one
	ungated bool
}

// launch starts the driver as sero would.
func (r *runner) launch(ctx context.Context, o launchOptions) (*launch.Process, error) {
	if o.dir == "" {
		o.dir = r.dir()
	}
	p, err := launch.Start(ctx, launch.Config{
		Path: r.c.Path, Args: r.c.Args, Env: r.env(o.dir), RunDir: o.dir,
		HostName: "sero-conformance", HostVersion: "0.0.0-conformance",
		HostCapabilities: []string{"x-sero.dev/grease@1"},
		Ungated:          o.ungated, Log: r.c.Log,
	})
	if err != nil {
		return nil, err
	}
	if len(r.c.Settings) > 0 {
		if err := p.Configure(ctx, r.c.Settings, false); err != nil {
			closeProcess(p)
			return nil, err
		}
	}
	return p, nil
}

// env is the driver's environment with a private directory for its files.
func (r *runner) env(dir string) []string {
	tmp := filepath.Join(dir, "tmp")
	_ = os.Mkdir(tmp, 0o700)
	env := append(slices.Clone(r.c.Env), "TMPDIR="+tmp, nonceEnv+"="+r.nonce)
	if agent := filepath.Join(r.base, agentSocket); fileExists(agent) {
		env = append(env, "SSH_AUTH_SOCK="+agent)
	}
	return env
}

// nonceEnv marks the processes of a run.
const nonceEnv = "SERO_CONFORMANCE_RUN"

// agentSocket stands in for the user's ssh agent.
const agentSocket = "agent.sock"

func fileExists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
