// Package imageref checks references to images, such as "node:22", in the one way
// that everything of sero does: with the parser that container tools share. What
// it accepts can be a part of a path or an argument of a command without harm.
package imageref

import (
	"github.com/distribution/reference"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// maxLength is above every reference that means something.
const maxLength = 512

// Check is nil for a reference to an image, by name or by digest, else
// InvalidArgument. field is the request's, for the error.
func Check(field, text string) error {
	if len(text) <= maxLength {
		if _, err := reference.ParseAnyReference(text); err == nil {
			return nil
		}
	}
	return refuse(field, text, `give one such as "node:22" or "ghcr.io/owner/name:1.2"`)
}

// CheckName is Check for the name that an image is to get, which has no digest.
func CheckName(field, text string) error {
	if len(text) <= maxLength {
		named, err := reference.ParseNormalizedNamed(text)
		if _, digested := named.(reference.Digested); err == nil && !digested {
			return nil
		}
	}
	return refuse(field, text, `give a name such as "shop:latest"`)
}

func refuse(field, text, remedy string) error {
	if text == "" {
		return &driver.Error{Reason: driver.InvalidArgument, Field: field, Message: "no image was named", Remedies: []driver.Remedy{{Text: remedy}}}
	}
	if len(text) > 100 {
		text = text[:100]
	}
	err := driver.Errorf(driver.InvalidArgument, "%q is not a reference to an image", text).Remedy(remedy)
	err.Field = field
	return err
}
