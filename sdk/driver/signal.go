package driver

// signalNumbers are the signals that can be sent to a command, with the numbers
// that shells on Linux and macOS use for exit codes. Signals whose numbers
// differ between the two (SIGUSR1, SIGCHLD and others) carry Linux's, for a
// driver's commands mostly run there; the host driver translates by name.
var signalNumbers = map[string]int{
	"SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6,
	"SIGBUS": 7, "SIGFPE": 8, "SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12,
	"SIGPIPE": 13, "SIGALRM": 14, "SIGTERM": 15, "SIGSTKFLT": 16, "SIGCHLD": 17, "SIGCONT": 18,
	"SIGSTOP": 19, "SIGTSTP": 20, "SIGTTIN": 21, "SIGTTOU": 22, "SIGURG": 23,
	"SIGXCPU": 24, "SIGXFSZ": 25, "SIGVTALRM": 26, "SIGPROF": 27, "SIGWINCH": 28,
	"SIGIO": 29, "SIGPWR": 30, "SIGSYS": 31,
}

// SignalNumber is the number of a signal's name; false for an unknown one.
func SignalNumber(name string) (int, bool) {
	n, ok := signalNumbers[name]
	return n, ok
}

// SignalName is the name of a signal's number; false for an unknown one.
func SignalName(number int) (string, bool) {
	for name, n := range signalNumbers {
		if n == number {
			return name, true
		}
	}
	return "", false
}
