package mount

import (
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// The numbers of people's accounts; those of services are lower, and what they
// call a home may be a place for projects, such as /var/www.
const (
	firstPerson = 1000
	lastPerson  = 59999
)

// mostHomes bounds how many homes are looked at.
const mostHomes = 100

// Homes are the home directories of the people on this machine, and this
// account's own whatever HOME says.
func Homes() []string {
	var homes []string
	if u, err := user.Current(); err == nil && filepath.IsAbs(u.HomeDir) && filepath.Clean(u.HomeDir) != "/" {
		homes = append(homes, filepath.Clean(u.HomeDir))
	}
	if runtime.GOOS == "darwin" {
		return append(homes, homesInUsers()...)
	}
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return homes
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		const uid, home = 2, 5
		if len(fields) <= home || !filepath.IsAbs(fields[home]) || filepath.Clean(fields[home]) == "/" {
			continue
		}
		if n, err := strconv.Atoi(fields[uid]); err == nil && n >= firstPerson && n <= lastPerson && len(homes) < mostHomes {
			homes = append(homes, filepath.Clean(fields[home]))
		}
	}
	return homes
}

// homesInUsers are those of macOS.
func homesInUsers() (homes []string) {
	entries, _ := os.ReadDir("/Users")
	for _, entry := range entries[:min(len(entries), mostHomes)] {
		if entry.IsDir() && entry.Name() != "Shared" {
			homes = append(homes, filepath.Join("/Users", entry.Name()))
		}
	}
	return homes
}
