package config

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/sero-labs/sero-runtime/core/egress/policy"
	"github.com/sero-labs/sero-runtime/schema"
)

type node struct {
	Type       string           `json:"type"`
	Pattern    string           `json:"pattern"`
	Enum       []string         `json:"enum"`
	Items      *node            `json:"items"`
	Properties map[string]*node `json:"properties"`
	Additional json.RawMessage  `json:"additionalProperties"`
	Names      *node            `json:"propertyNames"`
	About      string           `json:"description"`
}

// TestSchemaAndStructAgree walks the published schema and the Go type together:
// every key on one side is on the other, with the same type.
func TestSchemaAndStructAgree(t *testing.T) {
	var root node
	if err := json.Unmarshal(schema.Sero, &root); err != nil {
		t.Fatal(err)
	}
	compare(t, "sero.json", &root, reflect.TypeFor[Workspace]())
}

func compare(t *testing.T, path string, n *node, typ reflect.Type) {
	t.Helper()
	want := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array", reflect.String: "string",
		reflect.Bool: "boolean", reflect.Float64: "number", reflect.Uint16: "integer", reflect.Int64: "integer",
	}[typ.Kind()]
	if n.Type != want {
		t.Errorf("%s: the schema says %q, the struct %q", path, n.Type, want)
		return
	}
	switch typ.Kind() {
	case reflect.Struct:
		if string(n.Additional) != "false" {
			t.Errorf("%s: the schema allows other keys", path)
		}
		fields := fieldsOf(typ)
		inSchema, inStruct := slices.Sorted(maps.Keys(n.Properties)), slices.Sorted(maps.Keys(fields))
		if !slices.Equal(inSchema, inStruct) {
			t.Errorf("%s: the schema has %v, the struct %v", path, inSchema, inStruct)
			return
		}
		for field := range typ.Fields() {
			if field.Tag.Get("json") == "" {
				t.Errorf("%s.%s: a field without a json name", path, field.Name)
			}
		}
		for name, index := range fields {
			if n.Properties[name].About == "" {
				t.Errorf("%s.%s: no description", path, name)
			}
			compare(t, path+"."+name, n.Properties[name], typ.Field(index).Type)
		}
	case reflect.Map:
		var element node
		if err := json.Unmarshal(n.Additional, &element); err != nil {
			t.Errorf("%s: %v", path, err)
			return
		}
		compare(t, path+".*", &element, typ.Elem())
	case reflect.Slice:
		compare(t, path+"[]", n.Items, typ.Elem())
	default:
	}
}

func TestSchemaRulesAreTheCodesRules(t *testing.T) {
	var root node
	if err := json.Unmarshal(schema.Sero, &root); err != nil {
		t.Fatal(err)
	}
	p := root.Properties
	for path, pair := range map[string][2]string{
		"id":               {p["id"].Pattern, idPattern.String()},
		"driver":           {p["driver"].Pattern, driverPattern.String()},
		"image":            {p["image"].Pattern, imagePattern.String()},
		"user":             {p["user"].Pattern, userPattern.String()},
		"env":              {p["env"].Names.Pattern, envPattern.String()},
		"secrets":          {p["secrets"].Names.Pattern, envPattern.String()},
		"devServers":       {p["devServers"].Names.Pattern, serverPattern.String()},
		"resources.shm":    {p["resources"].Properties["sharedMemory"].Pattern, memoryPattern.String()},
		"resources.memory": {p["resources"].Properties["memory"].Pattern, memoryPattern.String()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: the schema has %s, the code %s", path, pair[0], pair[1])
		}
	}
	if !slices.Equal(p["egress"].Properties["mode"].Enum, policy.Modes) {
		t.Error("egress.mode: the schema and the code allow different words")
	}
	if !slices.Equal(p["mode"].Enum, modes) || !slices.Equal(p["fallback"].Enum, fallbacks) {
		t.Error("mode or fallback: the schema and the code allow different words")
	}
}
