package host

import (
	"errors"
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// streams are the two ends of a command's input and output.
type streams struct {
	child  [3]*os.File // standard input, output and error of the command
	opened []*os.File  // of child, each once

	// The driver's ends. On a terminal there is one, for input and output; nil
	// where the command has the null device.
	stdin, stdout, stderr *os.File
}

func openStreams(spec driver.ExecSpec, stdio driver.ExecIO) (*streams, error) {
	st := &streams{}
	var err error
	if spec.Terminal != nil {
		err = st.openTerminal(*spec.Terminal)
	} else {
		err = st.openPipes(stdio)
	}
	if err != nil {
		st.closeChild()
		st.closeParent()
		return nil, &driver.Error{Reason: driver.Internal, Message: "the command's input and output cannot be made", Retryable: true, Err: err}
	}
	return st, nil
}

func (st *streams) openPipes(stdio driver.ExecIO) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	st.opened = append(st.opened, null)
	st.child = [3]*os.File{null, null, null}
	pipe := func() (read, write *os.File) {
		if err == nil {
			read, write, err = os.Pipe()
		}
		return read, write
	}
	if stdio.Stdin != nil {
		var child *os.File
		child, st.stdin = pipe()
		st.give(0, child)
	}
	if stdio.Stdout != nil {
		var child *os.File
		st.stdout, child = pipe()
		st.give(1, child)
		enlargePipe(st.stdout)
	}
	if stdio.Stderr != nil {
		var child *os.File
		st.stderr, child = pipe()
		st.give(2, child)
	}
	return err
}

func (st *streams) give(fd int, file *os.File) {
	if file != nil {
		st.child[fd] = file
		st.opened = append(st.opened, file)
	}
}

// giveTo makes another user the owner of the command's ends: who may use them may
// not also open them again, as /dev/stderr and a terminal's name are. What cannot
// be given works but for that.
func (st *streams) giveTo(uid int) {
	for _, file := range st.child {
		if file.Name() != os.DevNull {
			_ = file.Chown(uid, -1)
		}
	}
}

func (st *streams) openTerminal(size driver.TerminalSize) error {
	opened, child, err := pty.Open()
	if err != nil {
		return err
	}
	defer opened.Close()
	st.opened = []*os.File{child}
	st.child = [3]*os.File{child, child, child}
	master, err := pollable(opened)
	if err != nil {
		return err
	}
	st.stdin, st.stdout = master, master
	setSize(master, size)
	return nil
}

// pollable is a file again such that reads of it can have a deadline, where the
// system can do that.
func pollable(file *os.File) (*os.File, error) {
	var fd int
	err := control(file, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, pollableTerminals); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

// setSize sets a terminal's size; zeros are the size that terminals always had,
// for many programs fail with none.
func setSize(master *os.File, size driver.TerminalSize) {
	if size.Rows == 0 || size.Cols == 0 {
		size = driver.TerminalSize{Rows: 24, Cols: 80}
	}
	_ = control(master, func(fd int) error { // fails when the terminal is gone
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: size.Rows, Col: size.Cols})
	})
}

// foregroundGroup is the process group in a terminal's foreground, 0 if there is
// none.
func foregroundGroup(master *os.File) (group int) {
	_ = control(master, func(fd int) (err error) { // fails when the terminal is gone
		group, err = unix.IoctlGetInt(fd, unix.TIOCGPGRP)
		return err
	})
	return group
}

// closeChild closes the command's ends, which it has itself by now.
func (st *streams) closeChild() {
	for _, f := range st.opened {
		f.Close()
	}
}

func (st *streams) closeParent() {
	for _, f := range []*os.File{st.stdin, st.stdout, st.stderr} {
		if f != nil {
			f.Close()
		}
	}
}
