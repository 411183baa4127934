// Package portowner tells which process of this machine listens on a TCP port,
// as far as the system lets this user see it. It is for messages: an answer may
// be out of date the moment it is given.
package portowner

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode"
)

// Owner is a process that listens on a port.
type Owner struct {
	PID     int64
	Command string // its short name
}

// String is such as "nginx (pid 812)".
func (o Owner) String() string { return fmt.Sprintf("%s (pid %d)", o.Command, o.PID) }

// limit of a look.
const limit = 2 * time.Second

var errSlow = errors.New("the system is slow to tell who holds a port")

// Of finds the process that listens on a port, on any address. It says false
// when there is none, or the system does not tell.
func Of(ctx context.Context, port uint16) (Owner, bool) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlow)
	defer cancel()
	owner, found := find(ctx, port)
	if !found || owner.PID <= 0 {
		return Owner{}, false
	}
	owner.Command = printable(owner.Command)
	return owner, true
}

// Name is how a message names the holder of a port: its process where that is
// known, else "another program".
func Name(ctx context.Context, port uint16) string {
	if owner, found := Of(ctx, port); found {
		return owner.String()
	}
	return "another program"
}

// printable is a process's name as a message may carry it: a process chooses its
// own.
func printable(name string) string {
	const most = 32
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = '?'
		}
	}
	if len(runes) == 0 {
		return "a program"
	}
	return string(runes[:min(len(runes), most)])
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
