package wire

import (
	"fmt"
	"math/rand/v2"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// greaseField is a field number that the protocol will never use.
const greaseField = 15000

// grease adds a field that nobody knows to a message, so that a peer which
// breaks on the unknown breaks today and not when the protocol grows.
func grease[M proto.Message](m M) M {
	unknown := protowire.AppendTag(nil, greaseField, protowire.VarintType)
	m.ProtoReflect().SetUnknown(protowire.AppendVarint(unknown, rand.Uint64()))
	return m
}

// greaseCapability is a name that nobody knows, another one each time.
func greaseCapability() string {
	return fmt.Sprintf("x-grease.sero.dev/%d@1", rand.IntN(1000))
}
