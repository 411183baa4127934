package main

import (
	"os"
	"strings"
	"testing"
)

// TestDocument: whoever reads about the stand-in reads about every fault and
// defect that it has.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/drivers/apple-container-standin.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range knownFaults {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the fault %s is not documented", name)
		}
	}
	for _, d := range defects {
		if !strings.Contains(string(text), "| `"+d.name+"` |") {
			t.Errorf("the defect %s is not documented", d.name)
		}
	}
}
