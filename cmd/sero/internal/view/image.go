package view

import (
	"fmt"
	"time"

	"github.com/sero-labs/sero-runtime/core/api/apipb"
)

type imageJSON struct {
	Reference string     `json:"reference"`
	Driver    string     `json:"driver"`
	Present   bool       `json:"present"`
	Digest    string     `json:"digest,omitempty"`
	SizeBytes int64      `json:"sizeBytes"`
	Created   *time.Time `json:"created,omitempty"`
	Ours      bool       `json:"ours"`
	Outdated  bool       `json:"outdated"`
}

func imageOf(i *apipb.Image) imageJSON {
	return imageJSON{
		Reference: i.GetReference(), Driver: i.GetDriver(), Present: i.GetPresent(), Digest: i.GetDigest(),
		SizeBytes: i.GetSizeBytes(), Created: timeOf(i.GetCreated()), Ours: i.GetOurs(), Outdated: i.GetOutdated(),
	}
}

// Images lists images.
func (v *View) Images(list []*apipb.Image) error {
	if v.JSON {
		return v.Value(map[string]any{"images": each(list, imageOf)})
	}
	if len(list) == 0 {
		v.Notice("sero has built no image here; the first workspace that needs one makes it, and so does: sero image build")
		return nil
	}
	rows := [][]string{{"IMAGE", "SIZE", "CREATED", "DRIVER", "STATE"}}
	for _, i := range list {
		rows = append(rows, []string{i.GetReference(), megabytes(i.GetSizeBytes()), created(i), i.GetDriver(), imageState(i)})
	}
	return v.table(rows)
}

// Image shows one image.
func (v *View) Image(i *apipb.Image) error {
	if v.JSON {
		return v.Value(imageOf(i))
	}
	if !i.GetPresent() {
		return v.fields(i.GetReference()+" is not there", []field{
			{"driver", i.GetDriver()},
			{"hint", "it is made when a workspace first needs it"},
		})
	}
	hint := ""
	if i.GetOutdated() {
		hint = "build it anew: sero image build"
	}
	return v.fields(i.GetReference()+" is "+imageState(i), []field{
		{"driver", i.GetDriver()},
		{"digest", i.GetDigest()},
		{"size", megabytes(i.GetSizeBytes())},
		{"created", created(i)},
		{"hint", hint},
	})
}

// ImageRemoved tells that an image is gone.
func (v *View) ImageRemoved(reference string) error {
	if v.JSON {
		return v.Value(map[string]any{"reference": reference, "removed": true})
	}
	return v.Text(clean(reference + " is removed"))
}

func imageState(i *apipb.Image) string {
	switch {
	case i.GetOutdated():
		return "outdated: this sero would build another one"
	case i.GetOurs():
		return "ready, built by sero"
	default:
		return "ready"
	}
}

func megabytes(n int64) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}

func created(i *apipb.Image) string {
	if i.GetCreated() == nil {
		return ""
	}
	return i.GetCreated().AsTime().Local().Format(time.DateTime)
}
