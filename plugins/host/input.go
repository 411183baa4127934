package host

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// input carries the caller's standard input to a command.
type input struct {
	file *os.File // a pipe's writing end, or a terminal
	// end tells the command that there is no more.
	end  func()
	lost func(error) // called once, when the caller's reader fails
}

// run copies until the end of from. What the command no longer takes is
// dropped, for the caller may be waiting until it is taken.
//
// It may outlive the command, until the caller's reader returns.
func (in *input) run(from io.Reader) {
	buf := make([]byte, 64<<10)
	taken := true
	for {
		n, err := from.Read(buf)
		if n > 0 && taken {
			if _, werr := in.file.Write(buf[:n]); werr != nil {
				taken = false // closed by the command, or it has ended
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			in.end()
			return
		case err != nil:
			in.lost(err)
			return
		}
	}
}

// endTerminal ends a terminal's input as a person does, by the end-of-file
// character, unless the command reads single keys: then there is no such thing.
func endTerminal(master *os.File) {
	var key []byte
	err := control(master, func(fd int) error {
		mode, err := unix.IoctlGetTermios(fd, getTermios)
		if err != nil {
			return err
		}
		if mode.Lflag&unix.ICANON != 0 {
			key = []byte{mode.Cc[unix.VEOF]}
		}
		return nil
	})
	if err != nil || key == nil {
		return
	}
	// In the middle of a line the first one only sends the line.
	_, _ = master.Write(append(key, key...)) // the command may have ended
}
