package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math"
	"os"
	"strings"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// checkPin compares a driver's open file with the SHA-256 that it is pinned to, in
// hex; an empty pin accepts any.
func (b binary) checkPin(f *os.File, pin string) *driver.Error {
	if pin == "" {
		return nil
	}
	if f == nil {
		var err error
		if f, err = os.Open(b.path); err != nil {
			return driver.Errorf(driver.DriverFailed, "its file cannot be read: %w", err).About(b.path)
		}
		defer func() { _ = f.Close() }()
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, math.MaxInt64)); err != nil {
		return driver.Errorf(driver.DriverFailed, "its file cannot be read: %w", err).About(b.path)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(got, pin) {
		return driver.Errorf(driver.DriverUntrusted, "its file has the SHA-256 %s and is pinned to %s", got, pin).About(b.path).
			Remedy("if you changed it yourself, set drivers." + b.name + ".sha256 in config.json to " + got).
			Remedy("else install it again from where you trust it")
	}
	return nil
}
