package frame

import (
	"encoding/binary"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// message names its fields to a codec, which writes or reads them.
type message interface{ fields(c *codec) }

// codec is one pass over a message: with reading unset it appends every field
// that is not empty to out, else it fills in the one that was read.
type codec struct {
	out []byte

	reading bool
	number  protowire.Number
	kind    protowire.Type
	varint  uint64
	bytes   []byte
	err     error
}

// Append adds the frame to b, with its length before it.
func Append(b []byte, f *Frame) []byte {
	at := len(b)
	c := codec{out: append(b, 0, 0, 0, 0)}
	f.fields(&c)
	binary.BigEndian.PutUint32(c.out[at:], uint32(len(c.out)-at-4))
	return c.out
}

// Decode reads one frame, without its length. The frame keeps parts of b.
func Decode(b []byte) (*Frame, error) {
	f := new(Frame)
	if err := read(b, f); err != nil {
		return nil, fmt.Errorf("a frame cannot be read: %w", err)
	}
	return f, nil
}

func read(b []byte, m message) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		c := codec{reading: true, number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			c.varint, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			c.bytes, n = protowire.ConsumeBytes(b)
		default: // of a field that is not known
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if m.fields(&c); c.err != nil {
			return c.err
		}
	}
	return nil
}

// found tells whether the field that was read is this one.
func (c *codec) found(n protowire.Number, kind protowire.Type) bool {
	return c.number == n && c.kind == kind
}

func number[T uint32 | uint64 | int64](c *codec, n protowire.Number, v *T) {
	switch {
	case c.reading && c.found(n, protowire.VarintType):
		*v = T(c.varint)
	case !c.reading && *v != 0:
		c.out = protowire.AppendVarint(protowire.AppendTag(c.out, n, protowire.VarintType), uint64(*v))
	}
}

func flag(c *codec, n protowire.Number, v *bool) {
	var is uint64
	if *v {
		is = 1
	}
	if number(c, n, &is); c.reading {
		*v = is != 0
	}
}

func text[T string | []byte](c *codec, n protowire.Number, v *T) {
	switch {
	case c.reading && c.found(n, protowire.BytesType):
		*v = T(c.bytes)
	case !c.reading && len(*v) > 0:
		c.out = append(protowire.AppendVarint(protowire.AppendTag(c.out, n, protowire.BytesType), uint64(len(*v))), *v...)
	}
}

func texts(c *codec, n protowire.Number, v *[]string) {
	if c.reading {
		if c.found(n, protowire.BytesType) {
			*v = append(*v, string(c.bytes))
		}
		return
	}
	for _, s := range *v {
		c.out = protowire.AppendString(protowire.AppendTag(c.out, n, protowire.BytesType), s)
	}
}

func one[T any, M interface {
	*T
	message
}](c *codec, n protowire.Number, v **T,
) {
	switch {
	case c.reading && c.found(n, protowire.BytesType):
		*v = new(T)
		c.err = read(c.bytes, M(*v))
	case !c.reading && *v != nil:
		c.nest(n, M(*v))
	}
}

func many[T any, M interface {
	*T
	message
}](c *codec, n protowire.Number, v *[]T,
) {
	if c.reading {
		if c.found(n, protowire.BytesType) {
			if len(*v) == MaxItems {
				c.err = errTooMany
				return
			}
			*v = append(*v, *new(T))
			c.err = read(c.bytes, M(&(*v)[len(*v)-1]))
		}
		return
	}
	for i := range *v {
		c.nest(n, M(&(*v)[i]))
	}
}

var errTooMany = fmt.Errorf("there are more than %d items", MaxItems)

func (c *codec) nest(n protowire.Number, m message) {
	inner := codec{}
	m.fields(&inner)
	c.out = protowire.AppendBytes(protowire.AppendTag(c.out, n, protowire.BytesType), inner.out)
}
