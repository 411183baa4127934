package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveVariable makes this program a dev server.
const serveVariable = "SERO_BENCH_SERVE"

// serve listens until it is ended.
func serve() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_ = conn.Close()
	}
}

// idle prints what the daemon and its drivers occupy and use, shared pages
// divided, while a workspace has dev servers and nothing happens.
func (b *bench) idle() error {
	const servers, span = 4, 10 * time.Second
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for i := range servers {
		name := fmt.Sprintf("web-%d", i)
		if err := b.cli("run", "--name", name, "--wait", "30s", "--env", serveVariable+"=1", "--", self, name)(); err != nil {
			return err
		}
	}
	out, err := b.command("daemon", "status", "--json").Output()
	if err != nil {
		return err
	}
	_, after, _ := strings.Cut(string(out), `"pid":`)
	pid := strings.TrimSpace(strings.FieldsFunc(after, func(r rune) bool { return r == ',' || r == '}' })[0])
	pids := append([]string{pid}, children(pid)...)
	time.Sleep(settle)
	before := make([]time.Duration, len(pids))
	for i, p := range pids {
		before[i] = used(p)
	}
	time.Sleep(span)
	fmt.Fprintf(b.out, "\nidle for %s, with %d dev servers\tRSS MiB\tPSS MiB\tCPU\n", span, servers)
	for i, p := range pids {
		rss, pss, err := resident(p)
		if err != nil {
			continue // no smaps on this system, or it has ended
		}
		cmdline, _ := os.ReadFile("/proc/" + p + "/cmdline")
		args := strings.Split(strings.TrimRight(string(cmdline), "\x00"), "\x00")
		fmt.Fprintf(b.out, "%s %s\t%.1f\t%.1f\t%.2f %%\n", filepath.Base(args[0]), strings.Join(args[1:], " "),
			rss, pss, 100*(used(p)-before[i]).Seconds()/span.Seconds())
	}
	return nil
}

func children(pid string) []string {
	out, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		return nil
	}
	all := strings.Fields(string(out))
	tasks, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, task := range tasks {
		more, _ := os.ReadFile(task)
		all = append(all, strings.Fields(string(more))...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// used is the time that a process has had of the processors.
func used(pid string) (total time.Duration) {
	tasks, _ := filepath.Glob("/proc/" + pid + "/task/*/schedstat")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		ns, _, _ := strings.Cut(string(text), " ")
		n, _ := strconv.ParseInt(ns, 10, 64)
		total += time.Duration(n)
	}
	return total
}

func resident(pid string) (rss, pss float64, err error) {
	b, err := os.ReadFile("/proc/" + pid + "/smaps_rollup")
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Rss:":
			rss = kib / 1024
		case "Pss:":
			pss = kib / 1024
		}
	}
	return rss, pss, nil
}
