package sockets

import (
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/internal/testutil"
)

func TestParseLsof(t *testing.T) {
	out := "p20\nf3\nn127.0.0.1:3000\nf4\nn[::1]:3001\nf5\nn*:3002\np10\nf3\nn127.0.0.1:3000\nf9\nn[fe80::1%lo0]:5\np99\nf1\nn*:1\nn\nnnonsense\nn*:x\n\n"
	type socket struct {
		Address string
		Port    uint16
		PID     int
	}
	got := make(map[socket]bool)
	for _, s := range parseLsof(out, []int{10, 20}) {
		got[socket{s.Address.String(), s.Port, s.PID}] = true
	}
	want := map[socket]bool{
		{"127.0.0.1", 3000, 10}: true,
		{"::1", 3001, 20}:       true,
		{"0.0.0.0", 3002, 20}:   true,
		{"fe80::1", 5, 10}:      true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFind(t *testing.T) {
	var f Finder
	defer f.Close()
	before, err := f.Find([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "[::]:0"} {
		t.Run(address, func(t *testing.T) {
			l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
			if err != nil {
				testutil.Missing(t, "ipv6", err.Error())
			}
			defer l.Close()
			if !f.Changed() {
				t.Error("it has not seen a change")
			}
			at, err := netip.ParseAddrPort(l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			found, err := f.Find([]int{os.Getpid()})
			if err != nil {
				t.Fatal(err)
			}
			want := append([]Socket{{Address: at.Addr(), Port: at.Port(), PID: os.Getpid()}}, before...)
			if diff := cmp.Diff(want, found, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
			// A connection is not a listener.
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if again, err := f.Find([]int{os.Getpid()}); err != nil || len(again) != len(want) {
				t.Errorf("got %v, %v", again, err)
			}
			c.Close()
			l.Close()
			if !f.Changed() {
				t.Error("it has not seen the close")
			}
			if after, err := f.Find([]int{os.Getpid()}); err != nil || len(after) != len(before) {
				t.Errorf("closed: %v, %v", after, err)
			}
		})
	}
	if other, err := f.Find([]int{1 << 30}); err != nil || len(other) > 0 {
		t.Errorf("of nobody: %v, %v", other, err)
	}
}
