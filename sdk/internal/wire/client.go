package wire

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"

	"github.com/sero-labs/sero-runtime/sdk/driver"
	"github.com/sero-labs/sero-runtime/sdk/internal/driverpb"
)

// Client is a driver in another process as a driver.Driver. It has every
// optional method; what the driver declared decides which of them work.
type Client struct {
	rpc       driverpb.DriverServiceClient
	handshake Handshake
	lost      func() error
	ungated   bool
}

// Host is what the core says of itself in the handshake.
type Host struct {
	Name         string
	Version      string
	Capabilities []string
}

// NewClient shakes hands over conn. lost explains a broken connection (nil if
// it cannot); ungated leaves refusing undeclared calls to the driver.
func NewClient(ctx context.Context, conn grpc.ClientConnInterface, host Host, lost func() error, ungated bool) (*Client, error) {
	c := &Client{rpc: driverpb.NewDriverServiceClient(conn), lost: lost, ungated: ungated}
	resp, err := c.rpc.Handshake(ctx, grease(&driverpb.HandshakeRequest{
		HostName:         host.Name,
		HostVersion:      host.Version,
		HostCapabilities: append([]string{greaseCapability()}, host.Capabilities...),
	}))
	if err != nil {
		return nil, c.fail(ctx, err)
	}
	c.handshake = HandshakeFromProto(resp)
	return c, nil
}

// Handshake is what the driver said of itself.
func (c *Client) Handshake() Handshake { return c.handshake }

// Info is the handshake's part of it.
func (c *Client) Info() driver.Info { return c.handshake.Info }

// Declared is the capability list of the handshake.
func (c *Client) Declared() []driver.Capability { return c.handshake.Capabilities }

func (c *Client) fail(ctx context.Context, err error) error { return FromStatus(ctx, err, c.lost) }

// gate refuses what the driver did not declare, before the call.
func (c *Client) gate(needs ...driver.Capability) error {
	if c.ungated {
		return nil
	}
	return driver.NeedAll(c, needs)
}

// Configure hands over settings.
func (c *Client) Configure(ctx context.Context, settings []byte, validateOnly bool) error {
	_, err := c.rpc.Configure(ctx, &driverpb.ConfigureRequest{SettingsJson: settings, ValidateOnly: validateOnly})
	return c.fail(ctx, err)
}

// Schema is the settings' JSON Schema.
func (c *Client) Schema() string { return c.handshake.ConfigSchema }

// Shutdown asks the driver to finish within ctx's deadline.
func (c *Client) Shutdown(ctx context.Context) error {
	req := &driverpb.ShutdownRequest{}
	if deadline, ok := ctx.Deadline(); ok {
		req.DeadlineMs = max(1, time.Until(deadline).Milliseconds())
	}
	_, err := c.rpc.Shutdown(ctx, req)
	return c.fail(ctx, err)
}

// stream opens a server stream and hands each message to take, until the end or
// an error; an error of take ends the stream and is returned.
func stream[Req, Resp any](
	ctx context.Context, c *Client, req Req,
	open func(context.Context, Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Resp], error),
	take func(*Resp) error,
) error {
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errors.New("the reader stopped"))
	s, err := open(sctx, req)
	if err != nil {
		return c.fail(ctx, err)
	}
	for {
		msg, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.fail(ctx, err)
		}
		if err := take(msg); err != nil {
			return err
		}
	}
}

// Health streams the runtime's state. A stream that the driver ends by itself
// breaks the contract and is an Internal error.
func (c *Client) Health(ctx context.Context, report func(driver.Health) error) error {
	err := stream(ctx, c, &driverpb.HealthRequest{}, c.rpc.Health, func(m *driverpb.HealthResponse) error {
		return report(healthFromProto(m))
	})
	return endless(err, "health")
}

// endless is the error of a stream that only its reader may end.
func endless(err error, name string) error {
	if err == nil {
		return driver.Errorf(driver.Internal, "the driver ended the %s stream", name)
	}
	return err
}

// StartSystem starts the engine.
func (c *Client) StartSystem(ctx context.Context, report func(driver.Progress)) error {
	if err := c.gate(driver.CapSystemStart); err != nil {
		return err
	}
	return stream(ctx, c, &driverpb.StartSystemRequest{}, c.rpc.StartSystem, func(m *driverpb.StartSystemResponse) error {
		if m.GetProgress() != nil {
			report(progressFromProto(m.GetProgress()))
		}
		return nil
	})
}

// StopSystem stops the engine.
func (c *Client) StopSystem(ctx context.Context, report func(driver.Progress)) error {
	if err := c.gate(driver.CapSystemStop); err != nil {
		return err
	}
	return stream(ctx, c, &driverpb.StopSystemRequest{}, c.rpc.StopSystem, func(m *driverpb.StopSystemResponse) error {
		if m.GetProgress() != nil {
			report(progressFromProto(m.GetProgress()))
		}
		return nil
	})
}

// imageStep is a message of the two image streams.
type imageStep interface {
	GetProgress() *driverpb.Progress
	GetImage() *driverpb.Image
}

// imageStream collects the image that ends such a stream.
func imageStream(report func(driver.Progress), run func(take func(imageStep)) error) (driver.Image, error) {
	var image *driverpb.Image
	err := run(func(m imageStep) {
		switch {
		case m.GetImage() != nil:
			image = m.GetImage()
		case m.GetProgress() != nil:
			report(progressFromProto(m.GetProgress()))
		}
	})
	if err == nil && image == nil {
		err = driver.Errorf(driver.Internal, "the driver ended the stream without an image")
	}
	return imageFromProto(image), err
}

// EnsureImage makes an image available.
func (c *Client) EnsureImage(ctx context.Context, reference string, policy driver.PullPolicy, report func(driver.Progress)) (driver.Image, error) {
	if err := c.gate(driver.CapImagePull); err != nil {
		return driver.Image{}, err
	}
	req := &driverpb.EnsureImageRequest{Reference: reference, Policy: pullPolicies[policy]}
	return imageStream(report, func(take func(imageStep)) error {
		return stream(ctx, c, req, c.rpc.EnsureImage, func(m *driverpb.EnsureImageResponse) error { take(m); return nil })
	})
}

// BuildImage builds an image.
func (c *Client) BuildImage(ctx context.Context, spec driver.BuildSpec, report func(driver.Progress)) (driver.Image, error) {
	if err := c.gate(driver.CapImageBuild); err != nil {
		return driver.Image{}, err
	}
	return imageStream(report, func(take func(imageStep)) error {
		return stream(ctx, c, buildToProto(spec), c.rpc.BuildImage, func(m *driverpb.BuildImageResponse) error { take(m); return nil })
	})
}

// RemoveImage removes an image.
func (c *Client) RemoveImage(ctx context.Context, reference string, force bool) error {
	if err := c.gate(driver.CapImageRemove); err != nil {
		return err
	}
	_, err := c.rpc.RemoveImage(ctx, &driverpb.RemoveImageRequest{Reference: reference, Force: force})
	return c.fail(ctx, err)
}

// ListImages lists images.
func (c *Client) ListImages(ctx context.Context, labels map[string]string) ([]driver.Image, error) {
	if err := c.gate(driver.CapImageList); err != nil {
		return nil, err
	}
	resp, err := c.rpc.ListImages(ctx, &driverpb.ListImagesRequest{Labels: labels})
	if err != nil {
		return nil, c.fail(ctx, err)
	}
	var out []driver.Image
	for _, i := range resp.GetImages() {
		out = append(out, imageFromProto(i))
	}
	return out, nil
}

// Create makes a sandbox.
func (c *Client) Create(ctx context.Context, spec driver.SandboxSpec) (driver.Sandbox, error) {
	if err := c.gate(spec.Needs()...); err != nil {
		return driver.Sandbox{}, err
	}
	resp, err := c.rpc.CreateSandbox(ctx, &driverpb.CreateSandboxRequest{Spec: specToProto(spec)})
	return c.sandbox(ctx, resp.GetSandbox(), err)
}

func (c *Client) sandbox(ctx context.Context, p *driverpb.Sandbox, err error) (driver.Sandbox, error) {
	if err != nil {
		return driver.Sandbox{}, c.fail(ctx, err)
	}
	return sandboxFromProto(p), nil
}

// Start starts a sandbox.
func (c *Client) Start(ctx context.Context, id string) (driver.Sandbox, error) {
	resp, err := c.rpc.StartSandbox(ctx, &driverpb.StartSandboxRequest{Id: id})
	return c.sandbox(ctx, resp.GetSandbox(), err)
}

// Stop stops a sandbox.
func (c *Client) Stop(ctx context.Context, id string, grace time.Duration) error {
	_, err := c.rpc.StopSandbox(ctx, &driverpb.StopSandboxRequest{Id: id, GraceMs: grace.Milliseconds()})
	return c.fail(ctx, err)
}

// Remove removes a sandbox.
func (c *Client) Remove(ctx context.Context, id string, force bool) error {
	_, err := c.rpc.RemoveSandbox(ctx, &driverpb.RemoveSandboxRequest{Id: id, Force: force})
	return c.fail(ctx, err)
}

// Get describes a sandbox.
func (c *Client) Get(ctx context.Context, id string) (driver.Sandbox, error) {
	resp, err := c.rpc.GetSandbox(ctx, &driverpb.GetSandboxRequest{Id: id})
	return c.sandbox(ctx, resp.GetSandbox(), err)
}

// List describes the sandboxes that carry the labels.
func (c *Client) List(ctx context.Context, labels map[string]string) ([]driver.Sandbox, error) {
	resp, err := c.rpc.ListSandboxes(ctx, &driverpb.ListSandboxesRequest{Labels: labels})
	if err != nil {
		return nil, c.fail(ctx, err)
	}
	var out []driver.Sandbox
	for _, s := range resp.GetSandboxes() {
		out = append(out, sandboxFromProto(s))
	}
	return out, nil
}

// CopyIn unpacks a tar stream.
func (c *Client) CopyIn(ctx context.Context, id, directory string, tar io.Reader) error {
	if err := c.gate(driver.CapCopy); err != nil {
		return err
	}
	sctx, cancel := context.WithCancelCause(ctx)
	defer cancel(errors.New("the copy ended"))
	s, err := c.rpc.CopyIn(sctx)
	if err != nil {
		return c.fail(ctx, err)
	}
	start := &driverpb.CopyInStart{SandboxId: id, Directory: directory}
	if err := s.Send(&driverpb.CopyInRequest{Frame: &driverpb.CopyInRequest_Start{Start: start}}); err == nil {
		_, err = io.CopyBuffer(frameWriter(func(p []byte) error {
			return s.Send(&driverpb.CopyInRequest{Frame: &driverpb.CopyInRequest_Tar{Tar: p}})
		}), struct{ io.Reader }{tar}, make([]byte, driver.MaxFrame))
		if err != nil && !errors.Is(err, io.EOF) { // EOF: the driver answered already
			return driver.Errorf(driver.InvalidArgument, "reading the tar stream: %w", err)
		}
	}
	_, err = s.CloseAndRecv()
	return c.fail(ctx, err)
}

// CopyOut packs a path.
func (c *Client) CopyOut(ctx context.Context, id, path string, tar io.Writer) error {
	if err := c.gate(driver.CapCopy); err != nil {
		return err
	}
	return stream(ctx, c, &driverpb.CopyOutRequest{SandboxId: id, Path: path}, c.rpc.CopyOut, func(m *driverpb.CopyOutResponse) error {
		_, err := tar.Write(m.GetTar())
		return err
	})
}

// Stats measures a sandbox.
func (c *Client) Stats(ctx context.Context, id string, interval time.Duration, report func(driver.Stats) error) error {
	if err := c.gate(driver.CapStats); err != nil {
		return err
	}
	req := &driverpb.StatsRequest{SandboxId: id, IntervalMs: interval.Milliseconds()}
	return stream(ctx, c, req, c.rpc.Stats, func(m *driverpb.StatsResponse) error { return report(statsFromProto(m)) })
}

// Logs reads a sandbox's output.
func (c *Client) Logs(ctx context.Context, id string, follow bool, tailLines int, out io.Writer) error {
	if err := c.gate(driver.CapLogs); err != nil {
		return err
	}
	req := &driverpb.LogsRequest{SandboxId: id, Follow: follow, TailLines: int64(tailLines)}
	return stream(ctx, c, req, c.rpc.Logs, func(m *driverpb.LogsResponse) error {
		_, err := out.Write(m.GetData())
		return err
	})
}

// Events tells of changes.
func (c *Client) Events(ctx context.Context, report func(driver.Event) error) error {
	if err := c.gate(driver.CapEvents); err != nil {
		return err
	}
	return endless(stream(ctx, c, &driverpb.EventsRequest{}, c.rpc.Events, func(m *driverpb.EventsResponse) error {
		return report(eventFromProto(m))
	}), "events")
}

// Listeners tells what listens.
func (c *Client) Listeners(ctx context.Context, id string, report func([]driver.Listener) error) error {
	if err := c.gate(driver.CapNetListeners); err != nil {
		return err
	}
	return endless(stream(ctx, c, &driverpb.ListenersRequest{SandboxId: id}, c.rpc.Listeners, func(m *driverpb.ListenersResponse) error {
		return report(listenersFromProto(m))
	}), "listeners")
}

var (
	_ driver.Remote          = (*Client)(nil)
	_ driver.Configurer      = (*Client)(nil)
	_ driver.Shutdowner      = (*Client)(nil)
	_ driver.SystemStarter   = (*Client)(nil)
	_ driver.SystemStopper   = (*Client)(nil)
	_ driver.ImageEnsurer    = (*Client)(nil)
	_ driver.ImageBuilder    = (*Client)(nil)
	_ driver.ImageRemover    = (*Client)(nil)
	_ driver.ImageLister     = (*Client)(nil)
	_ driver.Copier          = (*Client)(nil)
	_ driver.StatsReader     = (*Client)(nil)
	_ driver.LogReader       = (*Client)(nil)
	_ driver.EventWatcher    = (*Client)(nil)
	_ driver.ListenerWatcher = (*Client)(nil)
)
