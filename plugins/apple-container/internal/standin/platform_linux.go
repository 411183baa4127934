package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// waitProcess waits until a process of this machine has ended.
func waitProcess(pid int) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1) //nolint:gosec // descriptors are small
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// insidePID is the number of a process in its own namespace, or 0.
func insidePID(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "NSpid:" {
			inside, _ := strconv.Atoi(fields[len(fields)-1]) // the kernel writes numbers
			return inside
		}
	}
	return 0
}

// processOutput makes a raw terminal process output all the same. What it does to
// a LF, which raw mode leaves alone, is as it was: apple/containerization,
// Sources/ContainerizationOS/Terminal.swift.
func processOutput(fd int) {
	if settings, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
		settings.Oflag |= unix.OPOST
		_ = unix.IoctlSetTermios(fd, unix.TCSETS, settings) // it was just read
	}
}
