package config_test

import (
	"encoding/json"
	"testing"

	"github.com/sero-labs/sero-runtime/core/config"
	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A10: what is no reference is refused where it is written, before anything is done.
func TestA10ConfiguredImagesAreReferences(t *testing.T) {
	for _, bad := range []string{"a/../../containers/x", "a/..", "a//b", "a/./b", "a:b:c", "a@b", "Node", "a/"} {
		quoted, _ := json.Marshal(bad)
		_, _, err := config.ParseWorkspace("sero.json", []byte(`{"image": `+string(quoted)+`}`))
		if e := driver.AsError(err); e == nil || e.Reason != driver.ConfigInvalid || len(e.Remedies) == 0 {
			t.Errorf("%s: %v", bad, err)
		}
		for _, key := range []string{"image", "imageBase"} {
			if _, _, err := config.ParseMachine("config.json", []byte(`{"`+key+`": `+string(quoted)+`}`)); err == nil {
				t.Errorf("%s of config.json may be %s", key, bad)
			}
		}
	}
	if _, _, err := config.ParseWorkspace("sero.json", []byte(`{"image": "ghcr.io/a/b:1"}`)); err != nil {
		t.Error(err)
	}
}
