package egress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// Life is what a sandbox keeps to from one start to the next: its rules, and
// where its programs find the proxy.
type Life struct {
	Instance string        `json:"instance"`
	Started  time.Time     `json:"started"`
	Rules    config.Egress `json:"rules"`
	Port     uint16        `json:"port"`
	Secret   string        `json:"secret"`
}

func (l Life) of(s driver.Sandbox) bool {
	return l.Instance == s.Instance && l.Started.Equal(s.Started)
}

// session is the proxy of one life of a sandbox.
type session struct {
	life     Life
	proxy    *Proxy
	listener listening
	isolated bool // the sandbox has no other way out
	end      context.CancelCauseFunc
	done     chan struct{}
	over     atomic.Bool // it does not serve any more
}

// listening is a listener and where the sandbox finds it.
type listening struct {
	net.Listener
	address netip.AddrPort
	outside bool // on this machine: the end of the sandbox is not felt
}

// Pauses of a proxy whose listener has failed, as it does when the channel into
// the sandbox breaks, and for how long it tries. One that has served for a while
// has all attempts again.
const (
	listenPause    = 500 * time.Millisecond
	listenAttempts = 120
	listenSteady   = time.Minute
	listenTimeout  = 15 * time.Second
	lookEvery      = time.Minute
)

// open makes a session. The caller has the workspace's turn.
func (s *Service) open(ctx context.Context, w *workspace, sandbox driver.Sandbox, life Life) (*session, error) {
	list, err := listOf("sero.json", life.Rules)
	if err != nil {
		return nil, err
	}
	listener, err := s.listen(ctx, w.id, sandbox, life.Port)
	if err != nil && life.Port != 0 { // another has it by now
		listener, err = s.listen(ctx, w.id, sandbox, 0)
	}
	if err != nil {
		return nil, err
	}
	credential := Credential{user: w.id, secret: life.Secret}
	if credential.secret == "" {
		credential = newCredential(w.id)
	}
	life.Port, life.Secret = listener.address.Port(), credential.secret
	running, end := context.WithCancelCause(context.Background())
	opened := &session{life: life, listener: listener, isolated: sandbox.Network == driver.NetworkIsolated, end: end, done: make(chan struct{})}
	rules := policy.Policy{Machine: s.machine, Workspace: list, Own: ownAddress}
	opened.proxy = NewProxy(ProxyOptions{
		WorkspaceID: w.id, Credential: credential, Log: s.log, Resolver: s.options.Resolver, Dial: s.options.Dial,
		Policy: func() policy.Policy {
			w.mu.Lock()
			defer w.mu.Unlock()
			now := rules
			now.Granted = w.granted
			return now
		},
		Refused: func(r Refusal) { s.refused(w, r) },
		Reached: func(t policy.Target) {
			if rules.Mode() == policy.Observe {
				s.observed(w, t)
			}
		},
	})
	s.writing.Lock()
	w.mu.Lock()
	w.session, w.kept.Life = opened, &life
	next := w.kept
	w.mu.Unlock()
	err = s.write(w.id, next)
	s.writing.Unlock()
	if err != nil {
		s.log.Warn("the egress proxy of a running sandbox will not outlast the daemon", "workspace", w.id, "error", err)
	}
	go s.run(running, w, opened, sandbox)
	return opened, nil
}

// run serves until the session is closed or its sandbox has gone. A listener that
// fails is opened again, where the sandbox's programs know it.
func (s *Service) run(ctx context.Context, w *workspace, o *session, sandbox driver.Sandbox) {
	defer close(o.done)
	defer o.proxy.Close()
	defer o.over.Store(true)
	for listener, failed := o.listener, 0; ; {
		began := time.Now()
		err := s.serve(ctx, w, o, listener, sandbox)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= listenSteady {
			failed = 0
		}
		s.log.Info("the way out of a sandbox is cut off", "workspace", w.id, "error", err)
		for err = errAgain; err != nil; failed++ {
			if failed >= listenAttempts || s.options.Gone(ctx, w.id, sandbox) {
				s.log.Info("the egress proxy of a sandbox has ended", "workspace", w.id)
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(listenPause):
			}
			listener, err = s.listenAgain(ctx, w.id, sandbox, o)
		}
	}
}

// serve serves on one listener until it fails. Where nothing else tells that the
// sandbox has gone, it looks now and then.
func (s *Service) serve(ctx context.Context, w *workspace, o *session, listener listening, sandbox driver.Sandbox) error {
	if listener.outside {
		ctx, done := context.WithCancelCause(ctx)
		var look sync.WaitGroup
		defer look.Wait()
		defer done(nil)
		look.Go(func() {
			ticker := time.NewTicker(s.options.LookEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-ticker.C:
				}
				if s.options.Gone(ctx, w.id, sandbox) {
					_ = listener.Close()
					return
				}
			}
		})
	}
	return o.proxy.Serve(listener)
}

var errAgain = errors.New("not tried yet")

func (o *session) alive() bool { return !o.over.Load() }

func (o *session) close() {
	o.end(errClosed)
	o.proxy.Close()
	<-o.done
}

// listen opens the proxy's door: inside the sandbox if somebody can, else on the
// sandbox's gateway.
func (s *Service) listen(ctx context.Context, id string, sandbox driver.Sandbox, port uint16) (listening, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listenTimeout, errLate)
	defer cancel()
	l, inside := s.listenInside(ctx, id, port)
	if inside == nil {
		return l, nil
	}
	if l, err := listenGateway(ctx, sandbox, port); err == nil {
		return l, nil
	}
	e := driver.Errorf(driver.AsError(inside).Reason, "the egress proxy of workspace %s cannot be reached from its sandbox: %w", id, inside).About(id)
	return listening{}, e.Remedy("make the sandbox anew", "sero", "recreate", "-w", id).
		Remedy("or remove egress from sero.json and config.json to run without rules")
}

// listenAgain opens the door of a session where it was.
func (s *Service) listenAgain(ctx context.Context, id string, sandbox driver.Sandbox, o *session) (listening, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, listenTimeout, errLate)
	defer cancel()
	if o.listener.outside {
		return listenGateway(ctx, sandbox, o.life.Port)
	}
	return s.listenInside(ctx, id, o.life.Port)
}

func (s *Service) listenInside(ctx context.Context, id string, port uint16) (listening, error) {
	if s.options.Listen == nil {
		return listening{}, driver.Errorf(driver.Unsupported, "nothing listens inside of sandboxes")
	}
	l, err := s.options.Listen(ctx, id, port)
	if err != nil {
		return listening{}, err
	}
	address, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		_ = l.Close()
		return listening{}, driver.Errorf(driver.Internal, "the listener in the sandbox has no address")
	}
	return listening{Listener: l, address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), address.Port())}, nil
}

// listenGateway listens where the sandbox sees the host: only on an address that
// is this machine's, and that no other machine can reach by the internet.
func listenGateway(ctx context.Context, sandbox driver.Sandbox, port uint16) (listening, error) {
	gateway, err := netip.ParseAddr(sandbox.Gateway)
	switch {
	case err != nil, sandbox.Network == driver.NetworkIsolated, !gateway.IsPrivate(), !ownAddress(gateway):
		return listening{}, errors.New("the sandbox has no gateway that is safe to listen on")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", netip.AddrPortFrom(gateway, port).String())
	if err != nil {
		return listening{}, err
	}
	address, err := netip.ParseAddrPort(l.Addr().String())
	if err != nil {
		_ = l.Close()
		return listening{}, err
	}
	return listening{Listener: l, address: address, outside: true}, nil
}

// environment is what programs look for: the proxy in both spellings of its
// variables, what is not for it, and Node.js's wish to be asked.
func (o *session) environment(sandbox driver.Sandbox) []driver.EnvVar {
	address := net.JoinHostPort(o.listener.address.Addr().String(), strconv.Itoa(int(o.life.Port)))
	proxy := o.proxy.options.Credential.proxyURL(address)
	direct := strings.Join(append([]string{"localhost", "127.0.0.1", "::1"}, sandbox.Subnets...), ",")
	var env []driver.EnvVar
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		env = append(env, driver.EnvVar{Name: name, Value: proxy, Secret: true})
	}
	for _, name := range []string{"NO_PROXY", "no_proxy"} {
		env = append(env, driver.EnvVar{Name: name, Value: direct})
	}
	return append(env, driver.EnvVar{Name: "NODE_USE_ENV_PROXY", Value: "1"})
}
