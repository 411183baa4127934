// Package frame is sero.guest.v1 in Go: the messages between the core and its
// helper inside a sandbox, and their encoding.
//
// The encoding is protobuf's, written by hand: the generated code and the
// library under it would be two thirds of the helper. A test holds it to
// guest.proto, message by message.
package frame

// Version of the protocol.
const Version = 1

// Refused is the reason of an Error for a connection that nobody accepts.
const Refused = "CONNECTION_REFUSED"

// MaxItems bounds the listeners or sessions in one frame.
const MaxItems = 4096

// Bounds of the protocol, in bytes.
const (
	MaxFrame = 4 << 20   // of one frame, without its length
	MaxData  = 64 << 10  // of Data and ErrorData
	Window   = 256 << 10 // of one direction of a stream
	MinCost  = 64        // what the smallest frame with data takes from it
)

// Frame is one message; all but Stream is empty except for one field. See
// guest.proto, also for the other types here.
type Frame struct {
	Stream    uint64
	Hello     *Hello
	Open      *Open
	Data      []byte
	ErrorData []byte
	End       bool
	Window    uint64
	Started   *Started
	Exit      *Exit
	Error     *Error
	Resize    *Size
	Signal    string
	Reset     bool
	Listeners *Listeners
	Accepted  uint64
	Sessions  *Sessions
	Clock     int64
	Ping      bool
}

// Cost is what the frame takes from its stream's window.
func (f *Frame) Cost() int {
	if n := len(f.Data) + len(f.ErrorData); n > 0 {
		return max(n, MinCost)
	}
	return 0
}

// Hello tells who is there.
type Hello struct {
	Version  uint32
	Build    string
	UID      uint32
	Instance string
	Owner    string
	Sockets  bool
	Socket   string
	Token    string

	Connection string
}

// Open says what a stream is for.
type Open struct {
	Exec     *Exec
	Watch    bool
	Dial     string
	Listen   *Listen
	Accept   uint64
	Stop     *Stop
	Attach   string
	Kill     *Kill
	Sessions bool
	Clock    bool
	Claim    *Claim
}

// Claim asks whether a command of a lost connection has begun.
type Claim struct {
	Connection string
	Stream     uint64
}

// Exec describes a command.
type Exec struct {
	Argv        []string
	Env         []string
	Dir         string
	User        string
	Terminal    *Size
	Detach      bool
	Keep        uint64
	ExecID      string
	KillGraceMS uint64
	Stdin       bool
	Label       string
}

// Size of a terminal.
type Size struct{ Rows, Cols uint32 }

// Listen asks for connections to a loopback port.
type Listen struct{ Port uint32 }

// Stop ends what listens on a port.
type Stop struct {
	Port    uint32
	GraceMS uint64
}

// Kill ends a detached command.
type Kill struct{ ExecID string }

// Started tells that it has begun.
type Started struct {
	PID     uint64
	Port    uint32
	Skipped uint64
}

// Exit is how a command ended.
type Exit struct {
	Code        uint32
	Signal      string
	OutOfMemory bool
}

// Error is why a stream failed.
type Error struct{ Reason, Message, Resource, Field string }

// Listeners is a set of listening sockets.
type Listeners struct{ Listeners []Listener }

// Listener is one listening TCP socket.
type Listener struct {
	Address string
	Port    uint32
	PID     uint64
	Command string
	ExecID  string
}

// Sessions is a list of detached commands.
type Sessions struct{ Sessions []Session }

// Session is a detached command whose last output is kept.
type Session struct {
	ExecID  string
	Label   string
	PID     uint64
	Started int64
	Exit    *Exit
}
