package command

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func encodeActor(a gestor.Actor) *raftv1.Actor {
	return &raftv1.Actor{
		Kind:      a.Kind,
		Id:        a.ID,
		Name:      a.Name,
		TenantId:  string(a.TenantID),
		SessionId: string(a.SessionID),
		Address:   a.Address,
		UserAgent: a.UserAgent,
		Action:    a.Action,
		TokenId:   string(a.TokenID),
		Reference: a.Reference,
		Operator:  a.Operator,
		Severity:  string(a.Severity),
	}
}

func decodeActor(m *raftv1.Actor) gestor.Actor {
	return gestor.Actor{
		Kind:      m.GetKind(),
		ID:        m.GetId(),
		Name:      m.GetName(),
		TenantID:  gestor.TenantID(m.GetTenantId()),
		SessionID: gestor.SessionID(m.GetSessionId()),
		Address:   m.GetAddress(),
		UserAgent: m.GetUserAgent(),
		Action:    m.GetAction(),
		TokenID:   gestor.TokenID(m.GetTokenId()),
		Reference: m.GetReference(),
		Operator:  m.GetOperator(),
		Severity:  gestor.AuditSeverity(m.GetSeverity()),
	}
}

// stamp keeps the zero time apart from every real one.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func moment(m *timestamppb.Timestamp) time.Time {
	if m == nil {
		return time.Time{}
	}
	return m.AsTime()
}

func span(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func texts[T ~string](in []T) []string {
	if len(in) == 0 {
		return nil
	}
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = string(s)
	}
	return out
}

func ids[T ~string](in []string) []T {
	if len(in) == 0 {
		return nil
	}
	out := make([]T, len(in))
	for i, s := range in {
		out[i] = T(s)
	}
	return out
}

// unpack reads bytes that a domain value carries unread into m; no bytes leave m out.
func unpack[M proto.Message](b []byte, m M) (M, error) {
	if len(b) == 0 {
		var none M
		return none, nil
	}
	return m, proto.Unmarshal(b, m)
}

// pack is the way back; an absent message has no bytes.
func pack(m proto.Message) ([]byte, error) {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil, nil
	}
	return marshal(m)
}
