package workspace

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// TestB19EveryFieldOfASpecIsInAPart keeps a new field from changing behind the
// back of drift: it changes the hash of the whole, and of one part.
func TestB19EveryFieldOfASpecIsInAPart(t *testing.T) {
	labelsOf := func(spec driver.SandboxSpec) map[string]string {
		spec.Labels = map[string]string{}
		label(&spec)
		return spec.Labels
	}
	empty := labelsOf(driver.SandboxSpec{})
	fields := reflect.TypeFor[driver.SandboxSpec]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if name == "ID" || name == "Labels" {
			continue
		}
		var spec driver.SandboxSpec
		fill(t, reflect.ValueOf(&spec).Elem().Field(i))
		changed := []string{}
		for _, key := range slices.Sorted(maps.Keys(empty)) {
			if labelsOf(spec)[key] != empty[key] {
				changed = append(changed, key)
			}
		}
		if len(changed) != 2 || changed[0] != driver.LabelSpecHash {
			t.Errorf("%s changes %q, want the whole and one part", name, changed)
		}
	}
}

// TestA8AnUpgradeIsNoDrift compares with what releases wrote that knew two limits.
func TestA8AnUpgradeIsNoDrift(t *testing.T) {
	for _, limits := range []driver.Resources{{}, {CPUs: 1.5}, {CPUs: 2, MemoryBytes: 1 << 30}} {
		spec := driver.SandboxSpec{Labels: map[string]string{}, Resources: limits}
		label(&spec)
		before := hashOf(struct {
			CPUs        float64
			MemoryBytes int64
		}{limits.CPUs, limits.MemoryBytes})
		if got := spec.Labels[driver.LabelSpecResources]; got != before {
			t.Errorf("%+v: %s, before %s", limits, got, before)
		}
	}
}

// fill makes a value other than its zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint16:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("x"), reflect.ValueOf("y"))
	default:
		t.Fatalf("a field of kind %s", v.Kind())
	}
}
