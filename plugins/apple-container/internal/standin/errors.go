package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/sero-labs/sero-runtime/plugins/apple-container/internal/standin/grammar"
)

// Exit codes of the CLI itself.
const (
	exitFailure = 1
	exitUsage   = 64
)

// The codes of ContainerizationError, apple/containerization,
// Sources/ContainerizationError.
const (
	invalidArgument = "invalidArgument"
	internalError   = "internalError"
	exists          = "exists"
	notFound        = "notFound"
	invalidState    = "invalidState"
	interrupted     = "interrupted"
	unsupported     = "unsupported"
	timeout         = "timeout"
)

// appError is the CLI's error type: a code, a message and what caused it.
type appError struct {
	code    string
	message string
	cause   error
}

func failure(code, format string, args ...any) *appError {
	return &appError{code: code, message: fmt.Sprintf(format, args...)}
}

// because gives an error its cause.
func (e *appError) because(cause error) *appError {
	e.cause = cause
	return e
}

// Error is the description with the code, as causes and collective errors have it.
func (e *appError) Error() string {
	return e.code + `: "` + e.message + `"` + e.suffix()
}

func (e *appError) suffix() string {
	if e.cause == nil {
		return ""
	}
	return ` (cause: "` + e.cause.Error() + `")`
}

// aggregate are the errors of a command with several ids.
type aggregate []error

func (a aggregate) Error() string {
	lines := make([]string, 0, len(a))
	for _, err := range a {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

// exitCode ends the CLI without a word.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// plain is an error that is printed as it is.
type plain string

func (p plain) Error() string { return string(p) }

// serverHint is the line that the CLI adds to an XPC error, ContainerCommands/Application.swift.
const serverHint = "\nEnsure container system service has been started with `container system start`."

// report prints an error as the version does and gives the exit code.
func (s *session) report(err error) int {
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if usage, ok := errors.AsType[*grammar.UsageError](err); ok {
		fmt.Fprintf(os.Stderr, "Error: %s\n%s\n", usage.Message, usage.Usage)
		return exitUsage
	}
	text := err.Error()
	if app, ok := errors.AsType[*appError](err); ok {
		if down(app) {
			app = failure(interrupted, "%s%s", text, serverHint)
			text = app.Error()
		}
		if s.version.AtLeast(0, 10) {
			// From 0.10 the error is a LocalizedError, which has no code in front.
			text = app.message + app.suffix()
		}
	}
	fmt.Fprintf(os.Stderr, "Error: %s\n", text)
	return exitFailure
}

// down tells whether an XPC error is at the root of err.
func down(err *appError) bool {
	for err != nil {
		if err.code == interrupted {
			return true
		}
		next, ok := errors.AsType[*appError](err.cause)
		if !ok {
			return false
		}
		err = next
	}
	return false
}
