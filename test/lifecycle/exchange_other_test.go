//go:build !linux

package lifecycle_test

import "errors"

func exchange(string, string) error { return errors.ErrUnsupported }
