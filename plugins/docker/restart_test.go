package docker

import "testing"

// TestB17RestartHint: the driver restarts no engine, and says how a person does.
func TestB17RestartHint(t *testing.T) {
	for _, tt := range []struct{ engine, host, want string }{
		{"Docker Engine", "unix:///var/run/docker.sock", "sudo systemctl restart docker"},
		{"Docker Engine", "unix:///run/user/1000/docker.sock", "systemctl --user restart docker"},
		{"Docker Engine", "tcp://10.0.0.2:2376", "on the machine where it runs, systemctl restart docker"},
		{"Docker Desktop", "unix:///home/u/.docker/desktop/docker.sock", "in Docker Desktop's own menu"},
		{"Colima", "unix:///home/u/.colima/default/docker.sock", "colima restart"},
	} {
		if got := restartHint(tt.engine, tt.host); got != tt.want {
			t.Errorf("%s at %s: %q, want %q", tt.engine, tt.host, got, tt.want)
		}
	}
}
