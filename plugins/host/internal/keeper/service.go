package keeper

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/sero-labs/sero-runtime/plugins/host/internal/proc"
)

// service is the goroutine of a Keeper, which alone starts the process and writes
// to it.
type service struct {
	*Keeper
	process *os.Process // nil: none runs
	pipe    *os.File
	gone    chan struct{} // closed when process is reaped
	killed  time.Time     // when it last ended without being told to
	failed  time.Time     // when it last could not be started
}

func (k *Keeper) serve() {
	defer close(k.over)
	s := &service{Keeper: k}
	tell := time.NewTimer(time.Hour)
	tell.Stop()
	waits := false // tell runs
	for {
		select {
		case <-k.stop:
			s.end()
			return
		case answer := <-k.starts:
			answer <- s.start()
		case <-k.wake:
			if s.process == nil {
				s.startOrWarn()
				continue
			}
			s.tellDropped()
			if !waits {
				tell.Reset(tellAfter)
				waits = true
			}
		case <-tell.C:
			waits = false
			if s.process != nil { // the next one is told of all
				s.tellNew()
			}
		case <-s.gone:
			s.died()
		}
	}
}

// start starts the process and tells it of all leaders.
func (s *service) start() error {
	if s.process != nil || time.Since(s.failed) < restartPause {
		return nil
	}
	if err := s.spawn(); err != nil {
		s.failed = time.Now()
		return err
	}
	s.tellNew()
	return nil
}

func (s *service) startOrWarn() {
	if err := s.start(); err != nil {
		slog.Warn("commands will outlive this driver if it is killed", "error", err)
	}
}

// spawn starts the process, which knows of nothing then.
func (s *service) spawn() (err error) {
	over := make(chan struct{})
	s.mu.Lock()
	s.spawned = over
	s.mu.Unlock()
	err = s.run()
	s.mu.Lock()
	if s.spawned = nil; err == nil {
		s.pid = s.process.Pid
		s.dropped = nil
		for leader := range s.leaders {
			s.leaders[leader] = no
		}
	}
	s.mu.Unlock()
	close(over)
	return err
}

func (s *service) run() error {
	binary := "/proc/self/exe" // stays right when the file is replaced
	if runtime.GOOS != "linux" {
		var err error
		if binary, err = os.Executable(); err != nil {
			return fmt.Errorf("find own binary: %w", err)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("open pipe: %w", err)
	}
	defer read.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		write.Close()
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer null.Close()
	process, err := os.StartProcess(binary, []string{"sero-host-keeper"}, &os.ProcAttr{
		Dir:   "/",
		Env:   append(slices.Clone(s.environ), prefixEnv+"="+s.prefix),
		Files: []*os.File{null, null, null, read},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		write.Close()
		return fmt.Errorf("start keeper: %w", err)
	}
	gone := make(chan struct{})
	s.process, s.pipe, s.gone = process, write, gone
	go func() { // ends with the process, which ends with the pipe
		_, _ = process.Wait() // how it ended makes no difference
		close(gone)
	}()
	return nil
}

// died goes on after the process was killed.
func (s *service) died() {
	_ = s.pipe.Close()
	s.process, s.gone = nil, nil
	s.mu.Lock()
	s.pid = 0
	left := len(s.leaders)
	s.mu.Unlock()
	slog.Warn("the keeper process was killed")
	again := time.Since(s.killed) < restartPause
	s.killed = time.Now()
	if again { // no tight circle of restarts
		s.failed = s.killed
	} else if left > 0 {
		s.startOrWarn()
	}
}

// end ends the process.
func (s *service) end() {
	if s.process == nil {
		return
	}
	_ = s.pipe.Close()
	<-s.gone
	s.mu.Lock()
	s.pid = 0
	s.mu.Unlock()
}

// tellDropped tells the process of the sessions of which nothing is left.
func (s *service) tellDropped() {
	s.mu.Lock()
	dropped := s.dropped
	s.dropped = nil
	s.mu.Unlock()
	s.tell(drop, dropped)
}

// tellNew tells the process of the leaders that it does not know.
func (s *service) tellNew() {
	var fresh []proc.ID
	s.mu.Lock()
	for leader, is := range s.leaders {
		if is == no {
			s.leaders[leader] = now
			fresh = append(fresh, leader)
		}
	}
	s.mu.Unlock()
	s.tell(add, fresh)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, leader := range fresh {
		if _, there := s.leaders[leader]; there {
			s.leaders[leader] = yes
		}
	}
}

// The commands on the pipe: a letter, the leader's number and start time.
const (
	add  = '+'
	drop = '-'
)

// tellTimeout bounds a write to a process that does not read.
const tellTimeout = 100 * time.Millisecond

func (s *service) tell(verb rune, leaders []proc.ID) {
	if len(leaders) == 0 {
		return
	}
	var text bytes.Buffer
	for _, leader := range leaders {
		fmt.Fprintf(&text, "%c %d %d\n", verb, leader.PID, leader.Start)
	}
	_ = s.pipe.SetWriteDeadline(time.Now().Add(tellTimeout)) // a pipe can
	if _, err := s.pipe.Write(text.Bytes()); err != nil {
		slog.Warn("the keeper process does not listen", "error", err)
	}
}
