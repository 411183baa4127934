package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// invocation is one command being run.
type invocation struct {
	sh   *shell
	args []string
	io   streams
}

// words is the vocabulary. A word returns its exit code; its error is errEnded,
// which ends the shell.
var words map[string]func(*invocation) (int, error)

func init() { // sh and trap run words
	words = map[string]func(*invocation) (int, error){
		":": wordTrue, "true": wordTrue, "false": wordFalse,
		"exit": wordExit, "exec": wordExec, "setsid": wordSetsid, "sh": wordShell,
		"echo": wordEcho, "printf": wordPrintf, "cat": wordCat, "head": wordHead, "wc": wordCount, "read": wordRead,
		"sleep": wordSleep, "kill": wordKill, "trap": wordTrap, "wait": wordWait,
		"test": wordTest, "[": wordTest, "pwd": wordPwd, "cd": wordCd, "id": wordID,
		"printenv": wordPrintenv, "env": wordEnv, "uname": wordUname, "stty": wordStty, "command": wordCommand,
		"mkdir": wordMkdir, "touch": wordTouch, "rm": wordRemove, "chmod": wordTrue,
		"listen": wordListen, "fake-clock": wordClock, "fake-crash": wordCrash,
	}
}

func (c *invocation) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

func (c *invocation) fail(format string, args ...any) (int, error) {
	_, _ = fmt.Fprintf(c.io.err, c.args[0]+": "+format+"\n", args...)
	return 1, nil
}

func (c *invocation) path(name string) string { return c.sh.x.sb.files.abs(c.sh.dir, name) }

// wrote turns a failed write into a command's end: nobody reads, so it dies as
// from SIGPIPE.
func (c *invocation) wrote(err error) (int, error) {
	switch {
	case err == nil:
		return 0, nil
	case errors.Is(err, errClosedPipe):
		if c.sh.x.spec.Detach || c.sh.x.hasEnded() { // its output is dropped, it goes on
			return 0, nil
		}
		c.sh.p.signal("SIGPIPE")
		return 1, nil
	case errors.Is(err, errInterrupted):
		return 130, nil
	case c.sh.p.ctx.Err() != nil:
		return 1, errEnded
	default:
		return c.fail("%v", err)
	}
}

func wordTrue(*invocation) (int, error)  { return 0, nil }
func wordFalse(*invocation) (int, error) { return 1, nil }

func wordExit(c *invocation) (int, error) {
	c.sh.code = c.sh.last
	if n, err := strconv.Atoi(c.arg(1)); err == nil {
		c.sh.code = n
	}
	return c.sh.code, errEnded
}

func wordExec(c *invocation) (int, error) {
	code, err := c.sh.call(c.args[1:], c.io)
	if err == nil {
		c.sh.code = code
	}
	return code, errEnded
}

// wordSetsid leaves the process group.
func wordSetsid(c *invocation) (int, error) {
	c.sh.p.mu.Lock()
	c.sh.p.group = c.sh.p.pid
	c.sh.p.mu.Unlock()
	return c.sh.call(c.args[1:], c.io)
}

func wordShell(c *invocation) (int, error) {
	if len(c.args) == 1 {
		_, err := io.Copy(io.Discard, c.io.in)
		return c.wrote(err)
	}
	if c.arg(1) != "-c" {
		return c.fail("only sh -c SCRIPT is known")
	}
	l, err := parse(c.arg(2))
	if err != nil {
		_, _ = c.fail("%v", err)
		return 2, nil
	}
	outer, self, sub := c.sh.io, c.sh.vars["$"], c.sh.vars["$"] != ""
	c.sh.io = c.io
	delete(c.sh.vars, "$") // a shell of its own
	err = c.sh.runScript(l)
	if c.sh.io = outer; sub {
		c.sh.vars["$"] = self
	}
	return c.sh.last, err
}

func wordEcho(c *invocation) (int, error) {
	_, err := io.WriteString(c.io.out, strings.Join(c.args[1:], " ")+"\n")
	return c.wrote(err)
}

// wordPrintf knows %s, %d, %% and the usual escapes, and repeats its format.
func wordPrintf(c *invocation) (int, error) {
	var out bytes.Buffer
	rest := slices.Clone(c.args[min(2, len(c.args)):])
	for first := true; first || len(rest) > 0; first = false {
		before := len(rest)
		rest = printfOnce(&out, c.arg(1), rest)
		if len(rest) == before {
			break
		}
	}
	_, err := c.io.out.Write(out.Bytes())
	return c.wrote(err)
}

func printfOnce(out *bytes.Buffer, format string, args []string) []string {
	for i := 0; i < len(format); i++ {
		switch {
		case format[i] == '%' && i+1 < len(format):
			i++
			if format[i] == '%' {
				out.WriteByte('%')
			} else if len(args) > 0 {
				out.WriteString(args[0])
				args = args[1:]
			}
		case format[i] == '\\' && i+1 < len(format):
			i++
			i += escape(out, format[i:]) - 1
		default:
			out.WriteByte(format[i])
		}
	}
	return args
}

// escape writes what follows a backslash and tells how many bytes that was.
func escape(out *bytes.Buffer, s string) int {
	if named := strings.IndexByte("ntr\\", s[0]); named >= 0 {
		out.WriteByte("\n\t\r\\"[named])
		return 1
	}
	n := 0
	for n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '7' {
		n++
	}
	if v, err := strconv.ParseUint(s[:n], 8, 16); err == nil {
		out.WriteByte(byte(v))
		return n
	}
	out.WriteString("\\" + s[:1])
	return 1
}

func wordCat(c *invocation) (int, error) {
	for _, name := range c.args[1:] {
		data, err := c.sh.x.sb.files.read(c.path(name))
		if err != nil {
			return c.fail("%s: %v", name, err)
		}
		if _, err := c.io.out.Write(data); err != nil {
			return c.wrote(err)
		}
	}
	if len(c.args) == 1 {
		_, err := io.Copy(c.io.out, c.io.in)
		return c.wrote(err)
	}
	return 0, nil
}

type zeroes struct{}

// Read fills p with zeros.
func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func wordHead(c *invocation) (int, error) {
	n, err := strconv.ParseInt(c.arg(2), 10, 64)
	if c.arg(1) != "-c" || err != nil {
		return c.fail("only head -c BYTES is known")
	}
	from := c.io.in
	switch name := c.arg(3); name {
	case "":
	case "/dev/zero":
		from = zeroes{}
	default:
		data, err := c.sh.x.sb.files.read(c.path(name))
		if err != nil {
			return c.fail("%s: %v", name, err)
		}
		from = bytes.NewReader(data)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{c.io.out}, io.LimitReader(from, n), make([]byte, chunk))
	return c.wrote(err)
}

func wordCount(c *invocation) (int, error) {
	if c.arg(1) != "-c" {
		return c.fail("only wc -c is known")
	}
	n, err := io.Copy(io.Discard, c.io.in)
	if err != nil {
		return c.wrote(err)
	}
	_, err = fmt.Fprintln(c.io.out, n)
	return c.wrote(err)
}

func wordRead(c *invocation) (int, error) {
	var line []byte
	for one := make([]byte, 1); ; {
		n, err := c.io.in.Read(one)
		if n == 1 && one[0] != '\n' {
			line = append(line, one[0])
			continue
		}
		c.sh.vars[c.arg(1)] = string(line)
		if n == 1 {
			return 0, nil
		}
		if errors.Is(err, io.EOF) {
			return 1, nil
		}
		return c.wrote(err)
	}
}

func wordSleep(c *invocation) (int, error) {
	seconds, err := strconv.ParseFloat(c.arg(1), 64)
	if err != nil {
		return c.fail("invalid time interval %s", c.arg(1))
	}
	return c.sh.pause(func(ctx context.Context) error {
		return c.sh.x.sb.d.clock().Sleep(ctx, time.Duration(seconds*float64(time.Second)))
	})
}

func wordKill(c *invocation) (int, error) {
	name, args := "SIGTERM", c.args[1:]
	probe := false
	switch {
	case len(args) > 1 && args[0] == "-s":
		name, args = "SIG"+args[1], args[2:]
	case len(args) > 0 && args[0] == "-0":
		probe, args = true, args[1:]
	}
	for _, a := range args {
		pid, err := strconv.ParseInt(a, 10, 64)
		if err != nil {
			return c.fail("bad pid %s", a)
		}
		p, ok := c.sh.x.sb.process(pid)
		if !ok {
			return c.fail("(%d) - No such process", pid)
		}
		if !probe {
			p.signal(name)
		}
	}
	return 0, nil
}

func wordTrap(c *invocation) (int, error) {
	for _, name := range c.args[min(2, len(c.args)):] {
		c.sh.p.mu.Lock()
		c.sh.p.traps["SIG"+strings.TrimPrefix(name, "SIG")] = c.arg(1)
		c.sh.p.mu.Unlock()
	}
	return 0, nil
}

func wordWait(c *invocation) (int, error) {
	for _, job := range c.sh.jobs {
		code, err := c.sh.pause(func(ctx context.Context) error {
			select {
			case <-job.dead:
				return nil
			case <-ctx.Done():
				return errInterrupted
			}
		})
		if code != 0 || err != nil {
			return code, err
		}
	}
	return 0, nil
}

func wordPwd(c *invocation) (int, error) {
	_, err := fmt.Fprintln(c.io.out, c.sh.dir)
	return c.wrote(err)
}

func wordCd(c *invocation) (int, error) {
	to := c.path(c.arg(1))
	if !c.sh.x.sb.files.isDir(to) {
		return c.fail("can't cd to %s", c.arg(1))
	}
	c.sh.dir = to
	return 0, nil
}

func wordID(c *invocation) (int, error) {
	user, _, _ := strings.Cut(c.sh.x.spec.User, ":")
	if _, err := strconv.Atoi(user); err != nil {
		user = "0"
	}
	_, err := fmt.Fprintln(c.io.out, user)
	return c.wrote(err)
}

func wordPrintenv(c *invocation) (int, error) {
	v, ok := c.sh.vars[c.arg(1)]
	if !ok {
		return 1, nil
	}
	_, err := fmt.Fprintln(c.io.out, v)
	return c.wrote(err)
}

func wordEnv(c *invocation) (int, error) {
	_, err := fmt.Fprintln(c.io.out, strings.Join(c.sh.environ(), "\n"))
	return c.wrote(err)
}

func wordUname(c *invocation) (int, error) {
	_, err := fmt.Fprintln(c.io.out, "Linux")
	return c.wrote(err)
}

func wordStty(c *invocation) (int, error) {
	if c.sh.x.spec.Terminal == nil {
		return c.fail("standard input: not a terminal")
	}
	c.sh.x.mu.Lock()
	size := c.sh.x.size
	c.sh.x.mu.Unlock()
	_, err := fmt.Fprintf(c.io.out, "%d %d\n", size.Rows, size.Cols)
	return c.wrote(err)
}

func wordCommand(c *invocation) (int, error) {
	if _, ok := words[c.arg(2)]; !ok {
		return 1, nil
	}
	_, err := fmt.Fprintln(c.io.out, c.arg(2))
	return c.wrote(err)
}

func wordMkdir(c *invocation) (int, error) {
	if err := c.sh.x.sb.files.mkdir(c.path(c.args[len(c.args)-1])); err != nil {
		return c.fail("%v", err)
	}
	return 0, nil
}

func wordTouch(c *invocation) (int, error) {
	if err := c.sh.x.sb.files.write(c.path(c.arg(1)), nil, true); err != nil {
		return c.fail("%v", err)
	}
	return 0, nil
}

func wordRemove(c *invocation) (int, error) {
	if err := c.sh.x.sb.files.remove(c.path(c.args[len(c.args)-1])); err != nil {
		return c.fail("%v", err)
	}
	return 0, nil
}

// wordListen holds a listening socket until the process ends.
func wordListen(c *invocation) (int, error) {
	address, port := "0.0.0.0", c.arg(1)
	if c.arg(1) == "-a" {
		address, port = c.arg(2), c.arg(3)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return c.fail("bad port %s", port)
	}
	if err := c.sh.x.sb.listen(c.sh.p, address, uint16(n)); err != nil {
		return c.fail("%v", err)
	}
	if _, err := fmt.Fprintln(c.io.out, "listening"); err != nil {
		if code, err := c.wrote(err); code != 0 || err != nil {
			return code, err
		}
	}
	<-c.sh.p.ctx.Done()
	return 1, errEnded
}

func wordClock(c *invocation) (int, error) {
	d, err := time.ParseDuration(c.arg(2))
	clock, manual := c.sh.x.sb.d.clock().(*ManualClock)
	if err != nil || !manual || c.arg(1) != "advance" {
		return c.fail("fake-clock advance DURATION, with a manual clock")
	}
	clock.Advance(d)
	return 0, nil
}

func wordCrash(c *invocation) (int, error) {
	c.sh.x.sb.d.crash()
	<-c.sh.p.ctx.Done()
	return 1, errEnded
}

// wordTest knows -e, -f, -d, -s FILE, -t FD, -n, -z, = and !=.
func wordTest(c *invocation) (int, error) {
	args := c.args[1:]
	if c.args[0] == "[" {
		args = args[:max(0, len(args)-1)]
	}
	ok := false
	switch {
	case len(args) == 2:
		ok = c.testOne(args[0], args[1])
	case len(args) == 3 && args[1] == "=":
		ok = args[0] == args[2]
	case len(args) == 3 && args[1] == "!=":
		ok = args[0] != args[2]
	}
	if ok {
		return 0, nil
	}
	return 1, nil
}

func (c *invocation) testOne(op, arg string) bool {
	f := c.sh.x.sb.files
	switch op {
	case "-n":
		return arg != ""
	case "-z":
		return arg == ""
	case "-t":
		return c.sh.x.spec.Terminal != nil
	case "-d":
		return f.isDir(c.path(arg))
	case "-s":
		data, err := f.read(c.path(arg))
		return err == nil && len(data) > 0
	case "-S":
		return arg != "" && arg == c.sh.vars["SSH_AUTH_SOCK"]
	default:
		return f.exists(c.path(arg))
	}
}
