// Package wire carries the vocabulary of package driver over gRPC: both halves
// of sero.driver.v1, the conversions between Go and protobuf, and errors as
// statuses. It is the only importer of the generated code.
package wire

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// Handshake is what a driver says of itself.
type Handshake struct {
	Info         driver.Info
	SDKName      string
	SDKVersion   string
	Capabilities []driver.Capability
	ConfigSchema string
}

// HandshakeToProto converts a Handshake.
func HandshakeToProto(h Handshake) *driverpb.HandshakeResponse {
	return &driverpb.HandshakeResponse{
		Name:           h.Info.Name,
		Version:        h.Info.Version,
		SdkName:        h.SDKName,
		SdkVersion:     h.SDKVersion,
		HostConstraint: h.Info.HostConstraint,
		Isolation:      driverpb.Isolation(h.Info.Isolation),
		Platforms:      h.Info.Platforms,
		Capabilities:   names(h.Capabilities),
		ConfigSchema:   h.ConfigSchema,
		Description:    h.Info.Description,
	}
}

// HandshakeFromProto converts a Handshake. The capabilities are its facts too.
func HandshakeFromProto(p *driverpb.HandshakeResponse) Handshake {
	capabilities := capabilitiesFromNames(p.GetCapabilities())
	return Handshake{
		Info: driver.Info{
			Name:           p.GetName(),
			Version:        p.GetVersion(),
			Description:    p.GetDescription(),
			HostConstraint: p.GetHostConstraint(),
			Isolation:      driver.Isolation(p.GetIsolation()),
			Platforms:      p.GetPlatforms(),
			Facts:          capabilities,
		},
		SDKName:      p.GetSdkName(),
		SDKVersion:   p.GetSdkVersion(),
		Capabilities: capabilities,
		ConfigSchema: p.GetConfigSchema(),
	}
}

func names(capabilities []driver.Capability) []string {
	var out []string
	for _, c := range capabilities {
		out = append(out, string(c))
	}
	return out
}

func capabilitiesFromNames(names []string) []driver.Capability {
	var out []driver.Capability
	for _, n := range names {
		out = append(out, driver.Capability(n))
	}
	return out
}

func healthToProto(h driver.Health) *driverpb.HealthResponse {
	return &driverpb.HealthResponse{
		State:      driverpb.HealthState(h.State),
		Reason:     string(h.Reason),
		Message:    clip(h.Message),
		Remedies:   remediesToProto(h.Remedies),
		Attributes: h.Attributes,
	}
}

func healthFromProto(p *driverpb.HealthResponse) driver.Health {
	return driver.Health{
		State:      known(driver.HealthState(p.GetState()), driver.HealthUnhealthy),
		Reason:     driver.Reason(p.GetReason()),
		Message:    oneLine(clip(p.GetMessage())),
		Remedies:   remediesFromProto(p.GetRemedies()),
		Attributes: p.GetAttributes(),
	}
}

// known maps an enum value that is newer than this code to the zero value,
// which means unknown.
func known[E ~int](v, last E) E {
	if v < 0 || v > last {
		return 0
	}
	return v
}

func progressToProto(p driver.Progress) *driverpb.Progress {
	return &driverpb.Progress{Phase: p.Phase, Message: clip(p.Message), Current: p.Current, Total: p.Total, Unit: p.Unit}
}

func progressFromProto(p *driverpb.Progress) driver.Progress {
	return driver.Progress{
		Phase:   oneLine(clip(p.GetPhase())),
		Message: oneLine(clip(p.GetMessage())),
		Current: p.GetCurrent(),
		Total:   p.GetTotal(),
		Unit:    p.GetUnit(),
	}
}

func imageToProto(i driver.Image) *driverpb.Image {
	return &driverpb.Image{
		Reference: i.Reference,
		Digest:    i.Digest,
		SizeBytes: i.SizeBytes,
		Created:   timeToProto(i.Created),
		Labels:    i.Labels,
	}
}

func imageFromProto(p *driverpb.Image) driver.Image {
	return driver.Image{
		Reference: p.GetReference(),
		Digest:    p.GetDigest(),
		SizeBytes: p.GetSizeBytes(),
		Created:   timeFromProto(p.GetCreated()),
		Labels:    p.GetLabels(),
	}
}

func buildToProto(b driver.BuildSpec) *driverpb.BuildImageRequest {
	return &driverpb.BuildImageRequest{
		Tag:        b.Tag,
		ContextDir: b.ContextDir,
		Dockerfile: b.Dockerfile,
		Args:       b.Args,
		Labels:     b.Labels,
		NoCache:    b.NoCache,
	}
}

func buildFromProto(p *driverpb.BuildImageRequest) driver.BuildSpec {
	return driver.BuildSpec{
		Tag:        p.GetTag(),
		ContextDir: p.GetContextDir(),
		Dockerfile: p.GetDockerfile(),
		Args:       p.GetArgs(),
		Labels:     p.GetLabels(),
		NoCache:    p.GetNoCache(),
	}
}

// pullPolicies pairs the two spellings of a policy: the wire keeps zero for
// "not stated", which means missing.
var pullPolicies = map[driver.PullPolicy]driverpb.PullPolicy{
	driver.PullMissing: driverpb.PullPolicy_PULL_POLICY_MISSING,
	driver.PullNever:   driverpb.PullPolicy_PULL_POLICY_NEVER,
	driver.PullAlways:  driverpb.PullPolicy_PULL_POLICY_ALWAYS,
}

func policyFromProto(p driverpb.PullPolicy) driver.PullPolicy {
	for policy, wire := range pullPolicies {
		if wire == p {
			return policy
		}
	}
	return driver.PullMissing
}

func mountsToProto(ms []driver.Mount) []*driverpb.Mount {
	var out []*driverpb.Mount
	for _, m := range ms {
		out = append(out, &driverpb.Mount{Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	return out
}

func mountsFromProto(ps []*driverpb.Mount) []driver.Mount {
	var out []driver.Mount
	for _, p := range ps {
		out = append(out, driver.Mount{Source: p.GetSource(), Target: p.GetTarget(), ReadOnly: p.GetReadOnly()})
	}
	return out
}

func envToProto(vs []driver.EnvVar) []*driverpb.EnvVar {
	var out []*driverpb.EnvVar
	for _, v := range vs {
		out = append(out, &driverpb.EnvVar{Name: v.Name, Value: v.Value, Secret: v.Secret})
	}
	return out
}

func envFromProto(ps []*driverpb.EnvVar) []driver.EnvVar {
	var out []driver.EnvVar
	for _, p := range ps {
		out = append(out, driver.EnvVar{Name: p.GetName(), Value: p.GetValue(), Secret: p.GetSecret()})
	}
	return out
}

func publishToProto(ports []driver.PublishedPort) []*driverpb.PublishedPort {
	var out []*driverpb.PublishedPort
	for _, p := range ports {
		out = append(out, &driverpb.PublishedPort{SandboxPort: uint32(p.SandboxPort), HostPort: uint32(p.HostPort)})
	}
	return out
}

// port is 0, which is no port, for a number that is none: never another port.
func port(n uint32) uint16 {
	if n > math.MaxUint16 {
		return 0
	}
	return uint16(n)
}

func publishFromProto(ps []*driverpb.PublishedPort) []driver.PublishedPort {
	var out []driver.PublishedPort
	for _, p := range ps {
		out = append(out, driver.PublishedPort{SandboxPort: port(p.GetSandboxPort()), HostPort: port(p.GetHostPort())})
	}
	return out
}

func specToProto(s driver.SandboxSpec) *driverpb.SandboxSpec {
	return &driverpb.SandboxSpec{
		Id:           s.ID,
		WorkspaceDir: s.WorkspaceDir,
		Image:        s.Image,
		Mounts:       mountsToProto(s.Mounts),
		Env:          envToProto(s.Env),
		Labels:       s.Labels,
		Resources: &driverpb.Resources{
			Cpus: s.Resources.CPUs, MemoryBytes: s.Resources.MemoryBytes,
			Processes: s.Resources.Processes, SharedMemoryBytes: s.Resources.SharedMemoryBytes,
		},
		Publish:         publishToProto(s.Publish),
		ForwardSshAgent: s.ForwardSSHAgent,
		Network:         driverpb.Network(s.Network),
		Options:         s.Options,
	}
}

func specFromProto(p *driverpb.SandboxSpec) driver.SandboxSpec {
	return driver.SandboxSpec{
		ID:           p.GetId(),
		WorkspaceDir: p.GetWorkspaceDir(),
		Image:        p.GetImage(),
		Mounts:       mountsFromProto(p.GetMounts()),
		Env:          envFromProto(p.GetEnv()),
		Labels:       p.GetLabels(),
		Resources: driver.Resources{
			CPUs: p.GetResources().GetCpus(), MemoryBytes: p.GetResources().GetMemoryBytes(),
			Processes: p.GetResources().GetProcesses(), SharedMemoryBytes: p.GetResources().GetSharedMemoryBytes(),
		},
		Publish:         publishFromProto(p.GetPublish()),
		ForwardSSHAgent: p.GetForwardSshAgent(),
		Network:         driver.Network(p.GetNetwork()), // as it came: a newer one is not the default
		Options:         p.GetOptions(),
	}
}

func sandboxToProto(s driver.Sandbox) *driverpb.Sandbox {
	return &driverpb.Sandbox{
		Id:           s.ID,
		Instance:     s.Instance,
		State:        driverpb.SandboxState(s.State),
		Labels:       s.Labels,
		WorkspaceDir: s.WorkspaceDir,
		Image:        s.Image,
		ImageDigest:  s.ImageDigest,
		Addresses:    s.Addresses,
		Gateway:      s.Gateway,
		Subnets:      s.Subnets,
		Publish:      publishToProto(s.Publish),
		Mounts:       mountsToProto(s.Mounts),
		Created:      timeToProto(s.Created),
		Started:      timeToProto(s.Started),
		Network:      driverpb.Network(s.Network),
	}
}

func sandboxFromProto(p *driverpb.Sandbox) driver.Sandbox {
	return driver.Sandbox{
		ID:           p.GetId(),
		Instance:     p.GetInstance(),
		State:        known(driver.SandboxState(p.GetState()), driver.SandboxCorrupt),
		Labels:       p.GetLabels(),
		WorkspaceDir: p.GetWorkspaceDir(),
		Image:        p.GetImage(),
		ImageDigest:  p.GetImageDigest(),
		Addresses:    p.GetAddresses(),
		Gateway:      p.GetGateway(),
		Subnets:      p.GetSubnets(),
		Publish:      publishFromProto(p.GetPublish()),
		Mounts:       mountsFromProto(p.GetMounts()),
		Created:      timeFromProto(p.GetCreated()),
		Started:      timeFromProto(p.GetStarted()),
		Network:      known(driver.Network(p.GetNetwork()), driver.NetworkIsolated),
	}
}

func timeToProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func timeFromProto(p *timestamppb.Timestamp) time.Time {
	if p == nil {
		return time.Time{}
	}
	return p.AsTime()
}

func execToProto(s driver.ExecSpec) *driverpb.ExecStart {
	p := &driverpb.ExecStart{
		SandboxId:   s.SandboxID,
		ExecId:      s.ExecID,
		Argv:        s.Argv,
		Env:         envToProto(s.Env),
		WorkingDir:  s.Dir,
		User:        s.User,
		Terminal:    nil,
		Detach:      s.Detach,
		KillGraceMs: s.KillGrace.Milliseconds(),
	}
	if s.Terminal != nil {
		p.Terminal = sizeToProto(*s.Terminal)
	}
	return p
}

func execFromProto(p *driverpb.ExecStart) driver.ExecSpec {
	s := driver.ExecSpec{
		SandboxID: p.GetSandboxId(),
		ExecID:    p.GetExecId(),
		Argv:      p.GetArgv(),
		Env:       envFromProto(p.GetEnv()),
		Dir:       p.GetWorkingDir(),
		User:      p.GetUser(),
		Terminal:  nil,
		Detach:    p.GetDetach(),
		KillGrace: milliseconds(p.GetKillGraceMs()),
	}
	if p.GetTerminal() != nil {
		s.Terminal = new(sizeFromProto(p.GetTerminal()))
	}
	return s
}

func sizeToProto(s driver.TerminalSize) *driverpb.TerminalSize {
	return &driverpb.TerminalSize{Rows: uint32(s.Rows), Cols: uint32(s.Cols)}
}

func sizeFromProto(p *driverpb.TerminalSize) driver.TerminalSize {
	return driver.TerminalSize{Rows: uint16(min(p.GetRows(), math.MaxUint16)), Cols: uint16(min(p.GetCols(), math.MaxUint16))}
}

func exitToProto(s driver.ExitStatus) *driverpb.ExecExit {
	return &driverpb.ExecExit{Code: int32(s.Code), Signal: s.Signal, OutOfMemory: s.OutOfMemory}
}

func exitFromProto(p *driverpb.ExecExit) driver.ExitStatus {
	return driver.ExitStatus{Code: int(p.GetCode()), Signal: oneLine(clip(p.GetSignal())), OutOfMemory: p.GetOutOfMemory()}
}

func statsToProto(s driver.Stats) *driverpb.StatsResponse {
	return &driverpb.StatsResponse{
		CpuSeconds:           s.CPUSeconds,
		MemoryBytes:          s.MemoryBytes,
		MemoryLimitBytes:     s.MemoryLimitBytes,
		Processes:            s.Processes,
		NetworkReceivedBytes: s.NetworkReceivedBytes,
		NetworkSentBytes:     s.NetworkSentBytes,
	}
}

func statsFromProto(p *driverpb.StatsResponse) driver.Stats {
	return driver.Stats{
		CPUSeconds:           p.CpuSeconds,
		MemoryBytes:          p.MemoryBytes,
		MemoryLimitBytes:     p.MemoryLimitBytes,
		Processes:            p.Processes,
		NetworkReceivedBytes: p.NetworkReceivedBytes,
		NetworkSentBytes:     p.NetworkSentBytes,
	}
}

func eventToProto(e driver.Event) *driverpb.EventsResponse {
	return &driverpb.EventsResponse{Type: driverpb.EventType(e.Type), SandboxId: e.SandboxID, Time: timeToProto(e.Time)}
}

func eventFromProto(p *driverpb.EventsResponse) driver.Event {
	return driver.Event{
		Type:      known(driver.EventType(p.GetType()), driver.EventResync),
		SandboxID: p.GetSandboxId(),
		Time:      timeFromProto(p.GetTime()),
	}
}

func listenersToProto(ls []driver.Listener) *driverpb.ListenersResponse {
	out := &driverpb.ListenersResponse{Listeners: nil}
	for _, l := range ls {
		out.Listeners = append(out.Listeners, &driverpb.Listener{
			Address: l.Address, Port: uint32(l.Port), Pid: l.PID, Command: clip(l.Command), ExecId: l.ExecID,
		})
	}
	return out
}

func listenersFromProto(p *driverpb.ListenersResponse) []driver.Listener {
	var out []driver.Listener
	for _, l := range p.GetListeners() {
		out = append(out, driver.Listener{
			Address: oneLine(clip(l.GetAddress())), Port: port(l.GetPort()), PID: l.GetPid(),
			Command: oneLine(clip(l.GetCommand())), ExecID: l.GetExecId(),
		})
	}
	return out
}
