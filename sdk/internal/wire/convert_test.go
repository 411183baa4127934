package wire

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sero-labs/sero-runtime/sdk/driver"
)

// A conversion that forgets a field loses it silently. Every type is filled by
// reflection, converted there and back, and compared.
func TestRoundTrips(t *testing.T) {
	roundTrip(t, healthToProto, healthFromProto)
	roundTrip(t, progressToProto, progressFromProto)
	roundTrip(t, imageToProto, imageFromProto)
	roundTrip(t, buildToProto, buildFromProto)
	roundTrip(t, specToProto, specFromProto)
	roundTrip(t, sandboxToProto, sandboxFromProto)
	roundTrip(t, execToProto, execFromProto)
	roundTrip(t, exitToProto, exitFromProto)
	roundTrip(t, statsToProto, statsFromProto)
	roundTrip(t, eventToProto, eventFromProto)
	roundTrip(t, listenersToProto, listenersFromProto)
	roundTrip(t, HandshakeToProto, HandshakeFromProto, "Info.Facts") // the facts are not sent apart
}

func roundTrip[G, P any](t *testing.T, to func(G) P, from func(P) G, ignore ...string) {
	t.Helper()
	var want G
	fill(reflect.ValueOf(&want).Elem(), new(0))
	got := from(to(want))
	if diff := cmp.Diff(want, got, cmp.FilterPath(func(p cmp.Path) bool {
		return len(ignore) > 0 && p.String() == ignore[0]
	}, cmp.Ignore())); diff != "" {
		t.Errorf("%T: %s", want, diff)
	}
}

// fill gives every field a value of its own.
func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.String:
		v.SetString("s" + string(rune('a'+*n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32:
		v.SetInt(1) // enums: the first named value
	case reflect.Int64:
		v.SetInt(int64(*n) * int64(time.Millisecond))
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) / 2)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), n)
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key, n)
		fill(value, n)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(int64(*n), 0).UTC()))
			return
		}
		for _, field := range v.Fields() {
			fill(field, n)
		}
	default:
		panic("no value for " + v.Type().String())
	}
}

func TestErrorsCross(t *testing.T) {
	want := &driver.Error{
		Reason: driver.PortInUse, Message: "port 80 is taken", Resource: "80", Field: "publish[0]", Retryable: true,
		Remedies: []driver.Remedy{{Text: "choose another", Command: []string{"sero", "run", "--port", "81"}}},
	}
	got := FromStatus(t.Context(), ToStatus(want), nil)
	if diff := cmp.Diff(error(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestEveryReasonOfADriverHasACode(t *testing.T) {
	for reason, code := range reasonCodes {
		if code.String() == "OK" {
			t.Errorf("%s maps to OK", reason)
		}
	}
	long := &driver.Error{Reason: driver.Internal, Message: string(make([]byte, 100_000))}
	if got := driver.AsError(FromStatus(t.Context(), ToStatus(long), nil)); len(got.Message) > maxText {
		t.Errorf("an error of %d bytes travels", len(got.Message))
	}
}
