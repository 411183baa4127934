package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-version"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/launch"
)

func negotiationCases() []Case {
	return []Case{
		{
			ID: "NEG-1", Group: "negotiation", Run: negIdentity,
			Must: "the handshake has a name of lower-case letters, digits and hyphens, a semantic version and an isolation class; its platforms, if any, include this one",
		},
		{
			ID: "NEG-2", Group: "negotiation", Run: negNames,
			Must: "capabilities are names area.feature@N or x-<domain>/name@N, each once, exec@1 among them",
		},
		{
			ID: "NEG-3", Group: "negotiation", Run: negConstraint,
			Must: "the demand on the host's version, if any, is a constraint that can be read",
		},
		{
			ID: "NEG-4", Group: "negotiation", Run: negRefusals, engine: true,
			Must: "what needs a capability that was not declared is refused with UNSUPPORTED",
		},
		{
			ID: "NEG-5", Group: "negotiation", Run: negConstant,
			Must: "another process of the same binary declares the same",
		},
	}
}

func negIdentity(t T, s *Session) {
	info := s.r.shake.Info
	if !launch.NamePattern.MatchString(info.Name) {
		t.Errorf("name %q", info.Name)
	}
	if _, err := version.NewSemver(info.Version); err != nil {
		t.Errorf("version %q: %v", info.Version, err)
	}
	if info.Isolation.String() == "unknown" {
		t.Errorf("isolation %d", info.Isolation)
	}
	if here := runtime.GOOS + "/" + runtime.GOARCH; len(info.Platforms) > 0 && !slices.Contains(info.Platforms, here) {
		t.Errorf("platforms %v, this is %s", info.Platforms, here)
	}
}

var capabilityPattern = regexp.MustCompile(`^(x-[a-z0-9.-]+/[a-z0-9.-]+|[a-z0-9-]+(\.[a-z0-9-]+)*)@[1-9][0-9]*$`)

func negNames(t T, s *Session) {
	seen := map[driver.Capability]bool{}
	for _, c := range s.r.shake.Capabilities {
		if !capabilityPattern.MatchString(string(c)) {
			t.Errorf("%q is not a capability's name", c)
		}
		if seen[c] {
			t.Errorf("%s is declared twice", c)
		}
		seen[c] = true
	}
	if !seen[driver.CapExec] {
		t.Errorf("%s is missing", driver.CapExec)
	}
}

func negConstraint(t T, s *Session) {
	if c := s.r.shake.Info.HostConstraint; c != "" {
		if _, err := version.NewConstraint(c); err != nil {
			t.Errorf("constraint %q: %v", c, err)
		}
	}
}

// negRefusals makes each call and asks for each field that needs something that
// was not declared, past the host's own gate.
func negRefusals(t T, s *Session) {
	p := s.launch(t, launchOptions{ungated: true})
	spec := s.Spec(t)
	running := ""
	if slices.ContainsFunc([]driver.Capability{driver.CapExecTTY, driver.CapExecUser, driver.CapStats, driver.CapNetListeners}, func(c driver.Capability) bool { return !s.declares(c) }) {
		running = s.runningOn(t, p, spec).ID
	}
	for c, call := range refusable(s, p, spec, running) {
		if s.declares(c) {
			continue
		}
		ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(5*time.Second), errDeadline)
		if err := call(ctx); driver.ReasonOf(err) != driver.Unsupported {
			t.Errorf("%s is not declared, and yet the answer is %v", c, describeAnswer(err))
		}
		cancel()
	}
}

func describeAnswer(err error) string {
	if err == nil {
		return "success"
	}
	return fmt.Sprintf("%s: %v", driver.ReasonOf(err), err)
}

func refusable(s *Session, p *launch.Process, spec driver.SandboxSpec, running string) map[driver.Capability]func(context.Context) error {
	progress := func(driver.Progress) {}
	create := func(change func(*driver.SandboxSpec)) func(context.Context) error {
		return func(ctx context.Context) error {
			asked := spec
			asked.ID += "-refused"
			asked.Mounts = nil
			change(&asked)
			_, err := p.Create(ctx, asked)
			if err == nil {
				_ = p.Remove(ctx, asked.ID, true)
			}
			return err
		}
	}
	exec := func(change func(*driver.ExecSpec)) func(context.Context) error {
		return func(ctx context.Context) error {
			asked := s.script(running, "true")
			change(&asked)
			_, err := p.Exec(ctx, asked, driver.ExecIO{})
			return err
		}
	}
	mount := driver.Mount{Source: spec.WorkspaceDir, Target: "/conformance"}
	calls := map[driver.Capability]func(context.Context) error{
		driver.CapSystemStart: func(ctx context.Context) error { return p.StartSystem(ctx, progress) },
		driver.CapSystemStop:  func(ctx context.Context) error { return p.StopSystem(ctx, progress) },
		driver.CapImagePull: func(ctx context.Context) error {
			_, err := p.EnsureImage(ctx, s.r.c.Profile.Image, driver.PullNever, progress)
			return err
		},
		driver.CapImageBuild: func(ctx context.Context) error {
			_, err := p.BuildImage(ctx, driver.BuildSpec{Tag: "sero-conformance:refused", ContextDir: spec.WorkspaceDir}, progress)
			return err
		},
		driver.CapImageRemove: func(ctx context.Context) error { return p.RemoveImage(ctx, "sero-conformance:absent", false) },
		driver.CapImageList:   func(ctx context.Context) error { _, err := p.ListImages(ctx, nil); return err },
		driver.CapCopy:        func(ctx context.Context) error { return p.CopyOut(ctx, spec.ID, "/", io.Discard) },
		driver.CapStats: func(ctx context.Context) error {
			return p.Stats(ctx, spec.ID, 0, func(driver.Stats) error { return nil })
		},
		driver.CapLogs:   func(ctx context.Context) error { return p.Logs(ctx, spec.ID, false, 0, io.Discard) },
		driver.CapEvents: func(ctx context.Context) error { return p.Events(ctx, func(driver.Event) error { return errSeen }) },
		driver.CapNetListeners: func(ctx context.Context) error {
			return p.Listeners(ctx, spec.ID, func([]driver.Listener) error { return errSeen })
		},
		driver.CapExecTTY:   exec(func(e *driver.ExecSpec) { e.Terminal = &driver.TerminalSize{Rows: 24, Cols: 80} }),
		driver.CapExecUser:  exec(func(e *driver.ExecSpec) { e.User = s.r.c.Profile.User }),
		driver.CapMountBind: create(func(c *driver.SandboxSpec) { c.Mounts = []driver.Mount{mount} }),
		driver.CapMountRO: create(func(c *driver.SandboxSpec) {
			mount.ReadOnly = true
			c.Mounts = []driver.Mount{mount}
		}),
	}
	for capability, ask := range asking {
		calls[capability] = create(ask)
	}
	return calls
}

// asking ask for what a capability stands for in a spec.
var asking = map[driver.Capability]func(*driver.SandboxSpec){
	driver.CapLimitCPU:     func(c *driver.SandboxSpec) { c.Resources.CPUs = 1 },
	driver.CapLimitMemory:  func(c *driver.SandboxSpec) { c.Resources.MemoryBytes = 256 << 20 },
	driver.CapLimitProcs:   func(c *driver.SandboxSpec) { c.Resources.Processes = 300 },
	driver.CapSharedMemory: func(c *driver.SandboxSpec) { c.Resources.SharedMemoryBytes = 300 << 20 },
	driver.CapNetPublish:   func(c *driver.SandboxSpec) { c.Publish = []driver.PublishedPort{{SandboxPort: 3000}} },
	driver.CapSSHAgent:     func(c *driver.SandboxSpec) { c.ForwardSSHAgent = true },
	driver.CapNetIsolated:  func(c *driver.SandboxSpec) { c.Network = driver.NetworkIsolated },
}

func negConstant(t T, s *Session) {
	if other := s.Launch(t).Handshake(); !reflect.DeepEqual(other, s.r.shake) {
		t.Errorf("first %+v, then %+v", s.r.shake, other)
	}
}

func settingsCases() []Case {
	return []Case{
		{
			ID: "CONF-1", Group: "settings", Run: confSchema,
			Must: "the schema of the settings is empty or a JSON object",
		},
		{
			ID: "CONF-2", Group: "settings", Run: confTwice,
			Must: "the same settings twice, and settings that are only validated, succeed and change nothing",
		},
		{
			ID: "CONF-3", Group: "settings", Run: confUnknown,
			Must: "a setting that the schema does not have is CONFIG_INVALID, when only validated too, and the field is named",
		},
	}
}

func confSchema(t T, s *Session) {
	schema := s.r.shake.ConfigSchema
	var object map[string]any
	if strings.TrimSpace(schema) != "" && json.Unmarshal([]byte(schema), &object) != nil {
		t.Errorf("the schema is %.200q", schema)
	}
}

func confTwice(t T, s *Session) {
	p := s.Launch(t)
	for range 2 {
		s.OK(t, "Configure", p.Configure(s.Ctx, s.r.c.Settings, false))
		s.OK(t, "Configure, to validate", p.Configure(s.Ctx, s.r.c.Settings, true))
	}
}

func confUnknown(t T, s *Session) {
	p := s.Launch(t)
	for _, validate := range []bool{true, false} {
		err := p.Configure(s.Ctx, []byte(`{"no-such-setting": 1}`), validate)
		s.Fails(t, fmt.Sprintf("an unknown setting (validate only: %t)", validate), err, driver.ConfigInvalid)
		if e := driver.AsError(err); e != nil && strings.TrimSpace(s.r.shake.ConfigSchema) != "" && !strings.Contains(e.Field, "no-such-setting") {
			t.Errorf("the field at fault is %q", e.Field)
		}
	}
}

func healthCases() []Case {
	return []Case{
		{
			ID: "HEALTH-1", Group: "health", Run: healthFirst,
			Must: "the first health report comes at once, whatever state the runtime is in",
		},
		{
			ID: "HEALTH-2", Group: "health", Run: healthOpen,
			Must: "the health stream stays open until the core closes it",
		},
		{
			ID: "HEALTH-3", Group: "health", Run: healthReason,
			Must: "a report that is not ready has a reason, a message and a remedy",
		},
	}
}

func healthFirst(t T, s *Session) {
	ctx, cancel := context.WithTimeoutCause(s.Ctx, s.within(time.Second), errDeadline)
	defer cancel()
	err := s.Driver(t).Health(ctx, func(driver.Health) error { return errSeen })
	if err != errSeen { //nolint:errorlint // our own value comes back as it is
		t.Errorf("no report: %v", err)
	}
}

func healthOpen(t T, s *Session) {
	ctx, cancel := context.WithTimeoutCause(s.Ctx, 700*time.Millisecond, errDeadline)
	defer cancel()
	if err := s.Driver(t).Health(ctx, func(driver.Health) error { return nil }); ctx.Err() == nil {
		t.Errorf("it ended by itself: %v", err)
	}
}

func healthReason(t T, s *Session) {
	ctx, cancel := context.WithTimeoutCause(s.Ctx, 700*time.Millisecond, errDeadline)
	defer cancel()
	_ = s.Driver(t).Health(ctx, func(h driver.Health) error {
		if h.State == driver.HealthReady || h.State == driver.HealthUnknown {
			return nil
		}
		t.Logf("%s: %s %q %v", h.State, h.Reason, h.Message, h.Remedies)
		if h.Reason == "" || h.Message == "" || len(h.Remedies) == 0 {
			t.Errorf("the runtime is %s; reason, message and remedies are %q, %q and %d", h.State, h.Reason, h.Message, len(h.Remedies))
		}
		return nil
	})
}
