package applecontainer

import (
	"os"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// openTerminal makes a terminal that changes no byte, from its first on. The CLI
// makes it raw as well, but later, and differently:
//
//   - It switches output processing on again (apple/container#2299). So there is
//     nothing left for that to do.
//   - It makes its standard input non-blocking, and drops the output that does not
//     fit at once where that is the same open file (#1148). So the terminal is
//     opened once for each.
func openTerminal(size driver.TerminalSize) (master, input, output *os.File, err error) {
	master, input, err = pty.Open()
	if err != nil {
		return nil, nil, nil, err
	}
	err = pty.Setsize(input, &pty.Winsize{Rows: size.Rows, Cols: size.Cols})
	if err == nil {
		err = makeRaw(int(input.Fd())) //nolint:gosec // a descriptor
	}
	if err == nil {
		output, err = os.OpenFile(input.Name(), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err == nil {
		master, err = pollable(master)
	}
	if err != nil {
		closeAll([]*os.File{master, input, output})
		return nil, nil, nil, err
	}
	return master, input, output, nil
}

func makeRaw(fd int) error {
	if _, err := term.MakeRaw(fd); err != nil {
		return err
	}
	settings, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	settings.Oflag = 0
	return unix.IoctlSetTermios(fd, setTermios, settings)
}

// pollable is the file as one whose reads end when it is closed.
func pollable(f *os.File) (*os.File, error) {
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil //nolint:gosec // a descriptor
}
