package workspace

import (
	"context"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// call makes one call to a driver, with a deadline of its own.
func (m *Manager) call(ctx context.Context, name string, f func(ctx context.Context) error) error {
	late := driver.Errorf(driver.Timeout, "driver %s did not answer in %s", name, m.options.CallTimeout).About(name).
		Remedy("look at the driver", "sero", "driver", "info", name)
	late.Retryable = true
	bounded, cancel := context.WithTimeoutCause(ctx, m.options.CallTimeout, late)
	defer cancel()
	err := f(bounded)
	if err != nil && bounded.Err() != nil {
		return driver.AsError(context.Cause(bounded))
	}
	return err
}

// get describes a sandbox, and distrusts the answer.
func (m *Manager) get(ctx context.Context, d driver.Driver, name, id string) (driver.Sandbox, error) {
	var state driver.Sandbox
	err := m.call(ctx, name, func(ctx context.Context) (err error) {
		state, err = d.Get(ctx, id)
		return err
	})
	if err == nil && state.ID != id {
		return state, errNonsense(name, id, "asked for %s it gave %s", id, shown(state.ID))
	}
	return state, err
}

// errNonsense is a driver's reply that cannot be true.
func errNonsense(name, id, format string, args ...any) error {
	err := driver.Errorf(driver.Internal, "the driver's answer makes no sense: "+format, args...).About(id).
		Remedy("test the driver", "sero", "driver", "test", name)
	err.Driver = name
	return err
}
