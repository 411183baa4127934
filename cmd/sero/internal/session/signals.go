package session

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

// forwarded are the signals that go to the command by name, for numbers differ
// between systems.
var forwarded = map[syscall.Signal]string{
	syscall.SIGINT:  "SIGINT",
	syscall.SIGTERM: "SIGTERM",
	syscall.SIGHUP:  "SIGHUP",
	syscall.SIGQUIT: "SIGQUIT",
	syscall.SIGUSR1: "SIGUSR1",
	syscall.SIGUSR2: "SIGUSR2",
	syscall.SIGCONT: "SIGCONT",
}

// stopDelay is how long the frame that stops the command is given to leave
// before this process stops itself.
const stopDelay = 50 * time.Millisecond

// repeatDelay is how long after a signal the same one again is an echo: make and
// timeout pass a signal on that the terminal has sent to sero as well.
const repeatDelay = 300 * time.Millisecond

// catchSignals handles this process's signals until the returned function is
// called. A signal that was ignored when the process started, by nohup or by a
// shell's "&", stays ignored.
func (s *session) catchSignals() (stop func()) {
	ch := make(chan os.Signal, 16)
	caught := []syscall.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGWINCH,
	}
	for _, sig := range caught {
		if !signal.Ignored(sig) {
			signal.Notify(ch, sig)
		}
	}
	// A write to a closed pipe becomes an error instead of this process's end.
	signal.Ignore(syscall.SIGPIPE)
	done := make(chan struct{})
	finished := make(chan struct{})
	s.spawn(func() {
		defer close(finished)
		var asked ending
		for {
			select {
			case sig := <-ch:
				number, _ := sig.(syscall.Signal)
				s.onSignal(number, &asked)
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(ch)
		signal.Reset(syscall.SIGPIPE)
		close(done)
		<-finished
	}
}

// ending is the last signal that asked for the end.
type ending struct {
	signal syscall.Signal
	at     time.Time
}

// onSignal handles one signal; asked is the last one before it that asked for
// the end, if there was one.
func (s *session) onSignal(sig syscall.Signal, asked *ending) {
	switch sig {
	case syscall.SIGWINCH:
		if s.cfg.Terminal && s.isStarted() {
			_ = s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Resize{Resize: s.tty.size()}})
		}
	case syscall.SIGTSTP:
		s.suspend()
	case syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGCONT:
		s.sendSignal(forwarded[sig])
	default:
		s.onEnding(sig, asked)
	}
}

// onEnding handles a signal that asks for the end. A terminal's own Ctrl-C is a
// byte in raw mode and never comes here: whoever sends this then wants the
// session itself to end. Without a terminal the first one is the command's, to
// end as it likes.
func (s *session) onEnding(sig syscall.Signal, asked *ending) {
	first := asked.at.IsZero()
	if !first && asked.signal == sig && time.Since(asked.at) < repeatDelay {
		return
	}
	*asked = ending{sig, time.Now()}
	if first && !s.cfg.Terminal && s.isStarted() {
		s.sendSignal(forwarded[sig])
		return
	}
	signal.Reset(syscall.SIGINT, syscall.SIGTERM) // the next one kills
	s.cancel(&Interrupted{Signal: sig})
}

func (s *session) isStarted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.started
}

// suspend stops the command and then this process, as Ctrl-Z does to a local
// pipeline, and goes on when the shell continues it. The command gets SIGSTOP:
// its process group has no shell above it, and in such a group the kernel
// ignores SIGTSTP.
func (s *session) suspend() {
	if !s.cfg.Terminal {
		s.sendSignal("SIGSTOP")
		time.Sleep(stopDelay)
	}
	wasRaw := s.tty.restore()
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGSTOP)
	// Here again after SIGCONT, which onSignal passes to the command.
	if wasRaw {
		_ = s.tty.raw()
		_ = s.send(&apipb.ExecRequest{Frame: &apipb.ExecRequest_Resize{Resize: s.tty.size()}})
	}
}
