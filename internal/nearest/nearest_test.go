package nearest

import (
	"strings"
	"testing"
)

func TestName(t *testing.T) {
	known := []string{"host", "docker", "apple-container", "devServers", "env"}
	for word, want := range map[string]string{
		"dokcer": "docker", "Docker": "docker", "hots": "host", "apple": "apple-container", "devservers": "devServers",
		"enb": "env", "x": "", "": "", "kubernetes": "", strings.Repeat("a", 1000): "",
	} {
		if got := Name(word, known); got != want {
			t.Errorf("Name(%.20q) = %q, want %q", word, got, want)
		}
	}
}
