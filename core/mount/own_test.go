package mount_test

import (
	"testing"

	"github.com/sero-labs/sero-runtime/core/mount"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestD5OwnPath shows a workspace at its own path wherever that hides nothing of a
// sandbox (row D5).
func TestD5OwnPath(t *testing.T) {
	others := []driver.Mount{{Source: "/x", Target: "/data/lib"}, {Source: "/y", Target: "/mnt/project/deep"}}
	counts := map[mount.Own]int{}
	for want, dirs := range map[mount.Own][]string{
		mount.OwnMount: {
			"/home/me/project", "/home/me/a b/it's $x", "/home/me/jürgen", "/home/me/src/.hidden", "/Users" + "/me/project", "/root" + "/project",
			"/tmp/project", "/var/tmp/project", "/var/folders/x/T/p", "/srv/project", "/opt/project", "/mnt/project2", "/data/library",
			"/home2/x", "/var/www/shop", "/builds/group/project",
		},
		mount.OwnLink: {
			"/project", "/app", "/home", "/home/me", "/root", "/root" + "/.cargo", "/home/me/.config", "/tmp", "/usr/src/project", "/usr/local",
			"/bin/x", "/lib64", "/etc/project", "/run/user/1000/p", "/boot/x", "/var", "/var/lib/project", "/var/www", "/var/www/html",
			"/home/me/a,b", "/home/me/a:b", "/home/me/a=b", "/home/me/a\"b", "/home/me/a\\b", "/home/me/a\u202eb", "/home/me/ends-blank ",
		},
		mount.OwnNone: {
			"/", "/workspace", "/workspace/deep", "/opt", "/opt/sero", "/opt/sero/x", "/proc/self", "/sys/x", "/dev/shm/project",
			"/data/lib", "/data/lib/deep", "/mnt/project", "/data", // of another mount
		},
	} {
		for _, dir := range dirs {
			got := mount.OwnOf(dir, others)
			counts[got]++
			if got != want {
				t.Errorf("%q: %d, want %d", dir, got, want)
			}
		}
	}
	t.Logf("mounts, links, nothing: %v", counts)
}
