// Package lifecycle holds sero to its promises about sandboxes when somebody
// beside it stops, pauses, removes or replaces them, or their image, or their
// engine. It is one suite for every container driver: the sero binary on an
// engine of the test's own.
package lifecycle_test

import "testing"

// Engine is a container engine that a test may break, as somebody beside sero
// uses it. Its methods fail the test that they were made for.
type Engine interface {
	// Driver is the driver that sero uses it through.
	Driver() string
	// Environ leads sero's drivers to it: "NAME=value".
	Environ() []string
	// Image is the reference of an image that it has, with a shell.
	Image() string

	// Instances are its containers whose names begin with "sero-", by name: what
	// tells one from the next of that name.
	Instances() map[string]string
	// Count begins to count the containers that are made.
	Count() (made func() int)
	// Running tells whether a container runs.
	Running(name string) bool

	Stop(name string)
	Remove(name string)
	// Stranger makes a container of a name that runs and is not sero's.
	Stranger(name string)
	// RemoveImage takes the image away by force; RestoreImage brings it back.
	RemoveImage()
	RestoreImage()
	// RebuildImage gives the image's reference to another image.
	RebuildImage()

	// Restart stops the engine, with all that runs on it, and starts it.
	Restart()
}

// Breaker is an engine whose containers can be made such that they do not start
// again.
type Breaker interface {
	Break(name string)
}

// Pauser is an engine that can pause containers.
type Pauser interface {
	Pause(name string)
}

// Freezer is an engine that can be made to answer nothing: Freeze, and Thaw to
// end that.
type Freezer interface {
	Freeze()
	Thaw()
	// Past is what leads to the helper in a sandbox meanwhile.
	Past() string
}

// Killer is an engine that can be ended without warning, and started again.
type Killer interface {
	Kill()
	Start()
}

// TestLifecycle runs the suite on every engine of this machine.
func TestLifecycle(t *testing.T) {
	engines := map[string]func(t *testing.T) Engine{"docker": newDocker, "apple-container": newApple}
	for name, start := range engines {
		t.Run(name, func(t *testing.T) { suite(t, start(t)) })
	}
}

func suite(t *testing.T, engine Engine) {
	bin := buildSero(t)
	for _, c := range cases {
		if c.needs != nil && !c.needs(engine) {
			continue // it is nothing that can happen there
		}
		t.Run(c.name, func(t *testing.T) { c.run(newSero(t, bin, engine)) })
	}
}
