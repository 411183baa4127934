// Package fake is the in-memory reference driver. It implements the whole of
// sdk/driver, starts no process and touches no file outside the mounts of its
// sandboxes, so that the core, the suite and other people's tests can use it
// anywhere.
//
// It is deterministic: pids, instances and digests are counted, and with a
// manual clock nothing happens by itself. A [Script] (JSON, so that tests in any
// language can write one) tells it what to be and when to fail: errors by
// reason, delays, crashes, hangs, lost streams, progress. It comes from New's
// argument, from Configure's settings, or, for what a process must know before
// its first call, from the environment variable SERO_FAKE_SCRIPT or the argument
// -script= (JSON, or @ and a file's path).
//
// [Faults] are promises of the contract that it can break on purpose. The
// conformance suite is tested with them: each must fail its own cases and no
// other.
//
// # Commands
//
// A sandbox has an imaginary process table and file system. Its commands are the
// words below, alone or as `sh -c SCRIPT` in a small part of the shell's
// language: lists with ; & && || and newlines, while…do…done, redirections, $NAME
// $$ $! $?, quotes, and assignments. There are no pipes, functions or globs. A sh
// without arguments takes the script of its input and does nothing of it: the core
// sends one to each sandbox that it has started, in more of the language.
//
//	:  true  false  exit  echo  printf  cat  head -c  wc -c  sleep  read
//	kill  trap  wait  exec  setsid  test  [  pwd  cd  id -u  printenv  uname
//	stty size  command -v  mkdir  touch  rm  chmod  sh -c
//	listen [-a ADDRESS] PORT          holds a listening socket until it ends
//	fake-clock advance DURATION       moves the manual clock
//	fake-crash                        ends the driver's process, as SIGKILL does
//
// The workspace's directory and every mount are the host's own files; all else
// is memory and ends with the sandbox.
package fake
