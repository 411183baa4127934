package launch

import (
	"bytes"
	"debug/elf"
	"fmt"
	"os"
	"sync"
)

// headerSize is how much of an ELF file says for which machine it is.
const headerSize = 20

// ownHeader is that of this program.
var ownHeader = sync.OnceValue(func() []byte {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil
	}
	defer f.Close()
	return header(f)
})

// opened returns a path by which an open file can be run, whatever its own path
// leads to by then; empty if there is none. Only a program for this machine has
// one: a script's interpreter, or an emulator, has to open the file by itself, and
// by then this process's descriptor is closed.
func opened(f *os.File) string {
	if f == nil {
		return ""
	}
	own, its := ownHeader(), header(f)
	// The class and order, and the machine; between them are the system and the kind.
	if own == nil || its == nil || !bytes.HasPrefix(its, []byte(elf.ELFMAG)) ||
		!bytes.Equal(own[elf.EI_CLASS:elf.EI_DATA+1], its[elf.EI_CLASS:elf.EI_DATA+1]) || !bytes.Equal(own[18:], its[18:]) {
		return ""
	}
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

func header(f *os.File) []byte {
	text := make([]byte, headerSize)
	if n, _ := f.ReadAt(text, 0); n < headerSize {
		return nil
	}
	return text
}
