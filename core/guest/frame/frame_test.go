package frame_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/sero-labs/sero-runtime/core/guest/frame"
	"github.com/sero-labs/sero-runtime/core/guest/frame/internal/guestpb"
)

// The encoding by hand is that of guest.proto: for each field of a frame, what
// one side writes, the other reads, and it comes back byte for byte.
func TestTheEncodingIsThatOfTheProto(t *testing.T) {
	var out guestpb.Frame
	fields := out.ProtoReflect().Descriptor().Fields()
	if got, want := fields.Len(), reflect.TypeFor[frame.Frame]().NumField(); got != want {
		t.Fatalf("a frame has %d fields in the proto and %d in Go", got, want)
	}
	for i := range fields.Len() {
		field := fields.Get(i)
		for range 20 {
			var m guestpb.Frame
			fill(m.ProtoReflect(), field)
			text, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
			if err != nil {
				t.Fatal(err)
			}
			f, err := frame.Decode(text)
			if err != nil {
				t.Fatalf("%s: %v", field.Name(), err)
			}
			again := frame.Append(nil, f)[4:]
			var back guestpb.Frame
			if err := proto.Unmarshal(again, &back); err != nil || !proto.Equal(&m, &back) {
				t.Fatalf("%s: %v became %v: %v", field.Name(), &m, &back, err)
			}
		}
	}
}

// fill sets one field to something that is not empty, and all below it.
func fill(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	if field.IsList() {
		list := m.Mutable(field).List()
		for range 1 + rand.IntN(3) {
			if field.Message() != nil {
				fillAll(list.AppendMutable().Message())
			} else {
				list.Append(scalar(field))
			}
		}
		return
	}
	if field.Message() != nil {
		fillAll(m.Mutable(field).Message())
		return
	}
	m.Set(field, scalar(field))
}

func fillAll(m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		if field := fields.Get(i); field.ContainingOneof() == nil || rand.IntN(fields.Len()) == 0 {
			fill(m, field)
		}
	}
}

func scalar(field protoreflect.FieldDescriptor) protoreflect.Value {
	text := strings.Repeat("é\x00", 1+rand.IntN(200))
	switch field.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1 + rand.Uint32N(1<<31))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1 + rand.Uint64N(1<<62))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(-1 - rand.Int64N(1<<62))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(text))
	default:
		return protoreflect.ValueOfString(text)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(frame.Append(nil, &frame.Frame{Stream: 1, Open: &frame.Open{Exec: &frame.Exec{Argv: []string{"a"}, Terminal: &frame.Size{Rows: 1}}}})[4:])
	f.Add(frame.Append(nil, &frame.Frame{Listeners: &frame.Listeners{Listeners: []frame.Listener{{Address: "::", Port: 1}}}})[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := frame.Decode(b)
		if err != nil {
			return
		}
		text := frame.Append(nil, m)
		again, err := frame.Decode(text[4:])
		if err != nil || !bytes.Equal(text, frame.Append(nil, again)) {
			t.Errorf("%+v became %+v: %v", m, again, err)
		}
	})
}

// Items that cost two bytes each on the way are no more than a bounded set here.
func TestItemsAreBounded(t *testing.T) {
	for name, f := range map[string]*frame.Frame{
		"listeners": {Listeners: &frame.Listeners{Listeners: make([]frame.Listener, frame.MaxItems+1)}},
		"sessions":  {Sessions: &frame.Sessions{Sessions: make([]frame.Session, frame.MaxItems+1)}},
	} {
		if _, err := frame.Decode(frame.Append(nil, f)[4:]); err == nil {
			t.Errorf("a frame with too many %s was read", name)
		}
	}
}
