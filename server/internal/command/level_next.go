//go:build gestor_next

package command

import (
	"google.golang.org/protobuf/encoding/protowire"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
)

// This file makes the same source a program of the next level, for tests of clusters of both. Its op travels in a field
// that the contract does not have, so that a program without it meets what it would meet in a real one: an unknown op.

const level = 3

// PutNote writes a note into the table of level 3.
type PutNote struct{ ID, Text string }

// noteField carries a PutNote: id and text, each with its length before it.
const noteField = 2000

func (PutNote) needs() uint32 { return 3 }

func (op PutNote) encode(m *raftv1.Command) error {
	body := protowire.AppendString(protowire.AppendString(nil, op.ID), op.Text)
	raw := protowire.AppendTag(nil, noteField, protowire.BytesType)
	m.ProtoReflect().SetUnknown(protowire.AppendBytes(raw, body))
	return nil
}

func decodeNext(m *raftv1.Command) (Op, bool) {
	for raw := []byte(m.ProtoReflect().GetUnknown()); len(raw) > 0; {
		number, typ, n := protowire.ConsumeTag(raw)
		size := protowire.ConsumeFieldValue(number, typ, raw[max(n, 0):])
		if n < 0 || size < 0 {
			return nil, false
		}
		if number == noteField && typ == protowire.BytesType {
			body, _ := protowire.ConsumeBytes(raw[n:])
			id, idSize := protowire.ConsumeString(body)
			if idSize < 0 {
				return nil, false
			}
			text, textSize := protowire.ConsumeString(body[idSize:])
			return PutNote{ID: id, Text: text}, textSize >= 0
		}
		raw = raw[n+size:]
	}
	return nil, false
}
