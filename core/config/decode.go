package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/tailscale/hujson"

	"github.com/sero-labs/sero-runtime/internal/brief"
	"github.com/sero-labs/sero-runtime/internal/nearest"
)

// decode fills the struct that out points to. Keys that the struct lacks are
// warnings; values of another type, null, and keys given twice are errors.
// encoding/json would accept all of these, and keys in another case too.
func (d *document) decode(out any) error {
	return d.value(&d.root, reflect.ValueOf(out).Elem(), "")
}

func (d *document) value(v *hujson.Value, out reflect.Value, path string) error {
	d.positions[path] = v.StartOffset
	if out.Type() == reflect.TypeFor[json.RawMessage]() {
		return d.raw(v, out, path)
	}
	switch out.Kind() {
	case reflect.Pointer:
		out.Set(reflect.New(out.Type().Elem()))
		return d.value(v, out.Elem(), path)
	case reflect.Struct:
		return d.structure(v, out, path)
	case reflect.Map:
		return d.mapping(v, out, path)
	case reflect.Slice:
		return d.list(v, out, path)
	default:
		return d.scalar(v, out, path)
	}
}

func (d *document) structure(v *hujson.Value, out reflect.Value, path string) error {
	members, err := d.members(v, path)
	if err != nil {
		return err
	}
	fields := fieldsOf(out.Type())
	names := slices.Sorted(maps.Keys(fields))
	for i := range members {
		member := &members[i]
		key := keyOf(member)
		index, known := fields[key]
		if !known {
			d.unknownKey(member, key, path, names)
			continue
		}
		if err := d.value(&member.Value, out.Field(index), join(path, key)); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) mapping(v *hujson.Value, out reflect.Value, path string) error {
	members, err := d.members(v, path)
	if err != nil {
		return err
	}
	if len(members) > maxEntries {
		return d.tooMany(path, len(members))
	}
	out.Set(reflect.MakeMapWithSize(out.Type(), len(members)))
	for i := range members {
		key := keyOf(&members[i])
		element := reflect.New(out.Type().Elem()).Elem()
		if err := d.value(&members[i].Value, element, join(path, key)); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(key), element)
	}
	return nil
}

func (d *document) list(v *hujson.Value, out reflect.Value, path string) error {
	array, ok := v.Value.(*hujson.Array)
	if !ok {
		return d.wrongType(v, path, "an array")
	}
	if len(array.Elements) > maxEntries {
		return d.tooMany(path, len(array.Elements))
	}
	out.Set(reflect.MakeSlice(out.Type(), len(array.Elements), len(array.Elements)))
	for i := range array.Elements {
		if err := d.value(&array.Elements[i], out.Index(i), fmt.Sprintf("%s[%d]", path, i)); err != nil {
			return err
		}
	}
	return nil
}

// maxEntries is how many entries an object or a list of the file may have.
const maxEntries = 1000

func (d *document) tooMany(path string, n int) error {
	return d.errorAt(path, "this is too large: there are %d entries, at most %d are allowed", n, maxEntries).Remedy("keep fewer")
}

func (d *document) scalar(v *hujson.Value, out reflect.Value, path string) error {
	literal, isLiteral := v.Value.(hujson.Literal)
	kind := v.Value.Kind()
	switch out.Kind() {
	case reflect.String:
		if kind != '"' {
			return d.wrongType(v, path, "a string")
		}
		text := literal.String()
		if strings.ContainsRune(text, 0) {
			return d.errorAt(path, "there is a NUL character in it").Remedy("remove it")
		}
		out.SetString(text)
	case reflect.Bool:
		if kind != 't' && kind != 'f' {
			return d.wrongType(v, path, "true or false")
		}
		out.SetBool(literal.Bool())
	case reflect.Float64:
		n, err := strconv.ParseFloat(string(literal), 64)
		if !isLiteral || kind != '0' || err != nil {
			return d.wrongType(v, path, "a number")
		}
		out.SetFloat(n)
	case reflect.Uint16:
		n, err := strconv.ParseUint(string(literal), 10, 16)
		if !isLiteral || kind != '0' || err != nil {
			return d.wrongType(v, path, "a whole number from 0 to 65535")
		}
		out.SetUint(n)
	case reflect.Int64:
		n, err := strconv.ParseInt(string(literal), 10, 64)
		if !isLiteral || kind != '0' || err != nil {
			return d.wrongType(v, path, "a whole number")
		}
		out.SetInt(n)
	default:
		panic("config: no rule for the type " + out.Type().String())
	}
	return nil
}

// raw keeps an object as standard JSON, for someone else to decode.
func (d *document) raw(v *hujson.Value, out reflect.Value, path string) error {
	if _, err := d.members(v, path); err != nil {
		return err
	}
	standard := v.Clone()
	standard.Minimize()
	out.SetBytes(standard.Pack())
	return nil
}

// members are an object's, each name once.
func (d *document) members(v *hujson.Value, path string) ([]hujson.ObjectMember, error) {
	object, ok := v.Value.(*hujson.Object)
	if !ok {
		return nil, d.wrongType(v, path, "an object")
	}
	seen := make(map[string]bool, len(object.Members))
	for i := range object.Members {
		key := keyOf(&object.Members[i])
		if seen[key] {
			return nil, d.errorAtOffset(object.Members[i].Name.StartOffset, join(path, key),
				fmt.Sprintf("%s is given twice", shown(key))).Remedy("keep one of them")
		}
		seen[key] = true
	}
	return object.Members, nil
}

func (d *document) wrongType(v *hujson.Value, path, want string) error {
	got := map[hujson.Kind]string{
		'n': "null", 't': "true", 'f': "false", '"': "a string", '0': "the number " + strings.TrimSpace(v.String()),
		'{': "an object", '[': "an array",
	}[v.Value.Kind()]
	if path == "" {
		path = "the file"
	}
	return d.errorAtOffset(v.StartOffset, path, fmt.Sprintf("%s must be %s, not %s", path, want, got)).
		Remedy("make it " + want)
}

func (d *document) unknownKey(member *hujson.ObjectMember, key, path string, known []string) {
	if d.isFull() { // nobody would see the message
		d.omitted++
		return
	}
	where := ""
	if path != "" {
		where = " in " + path
	}
	message := fmt.Sprintf("unknown key %s%s is ignored", shown(key), where)
	if match := nearest.Name(key, known); match != "" {
		message += fmt.Sprintf(", did you mean %q?", match)
	}
	d.warn(member.Name.StartOffset, "%s", message)
}

func keyOf(member *hujson.ObjectMember) string {
	literal, _ := member.Name.Value.(hujson.Literal)
	return literal.String()
}

// fieldsOf maps a struct's JSON names to its field numbers.
func fieldsOf(t reflect.Type) map[string]int {
	fields := make(map[string]int, t.NumField())
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("json"); name != "" && name != "-" {
			fields[name] = i
		}
	}
	return fields
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// shown is a name from a file as a message may carry it.
func shown(s string) string { return brief.Text(s) }
