package portowner

import (
	"net"
	"os"
	"testing"
)

func TestOf(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	owner, found := Of(t.Context(), port)
	if !found || owner.PID != int64(os.Getpid()) || owner.Command == "" {
		t.Errorf("%+v %v", owner, found)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if owner, found := Of(t.Context(), port); found {
		t.Errorf("nobody listens, and yet %v does", owner)
	}
	if got := Name(t.Context(), port); got != "another program" {
		t.Error(got)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{"node": "node", "a\x1b[2J": "a?[2J", "": "a program"} {
		if got := printable(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
