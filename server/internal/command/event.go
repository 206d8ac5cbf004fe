package command

import (
	"maps"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// RecordEvent writes an event that is no part of another change. What the state machine gives is not looked at.
type RecordEvent struct{ Event gestor.Event }

func (RecordEvent) needs() uint32 { return 2 }

func (op RecordEvent) encode(m *raftv1.Command) error {
	e := op.Event
	m.Op = &raftv1.Command_RecordEvent{RecordEvent: &raftv1.RecordEvent{
		TenantId:   string(e.TenantID),
		Severity:   gestorv1.EventSeverity(e.Severity),
		Kind:       e.Kind,
		ObjectKind: e.ObjectKind,
		ObjectId:   e.ObjectID,
		AppId:      string(e.AppID),
		Title:      e.Title,
		Data:       e.Data,
		Key:        e.Key,
	}}
	return nil
}

func decodeRecordEvent(m *raftv1.RecordEvent) RecordEvent {
	return RecordEvent{Event: gestor.Event{
		TenantID:   gestor.TenantID(m.GetTenantId()),
		Severity:   gestor.Severity(m.GetSeverity()),
		Kind:       m.GetKind(),
		ObjectKind: m.GetObjectKind(),
		ObjectID:   m.GetObjectId(),
		AppID:      gestor.AppID(m.GetAppId()),
		Title:      m.GetTitle(),
		Data:       maps.Clone(m.GetData()),
		Key:        m.GetKey(),
	}}
}

// MarkEventsRead marks events as read by a user.
type MarkEventsRead struct {
	UserID gestor.UserID
	IDs    []gestor.EventID
	UpTo   gestor.EventID // this one and all before it; empty for none
}

func (MarkEventsRead) needs() uint32   { return 2 }
func (MarkEventsRead) whileSuspended() {}

func (op MarkEventsRead) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_MarkEventsRead{MarkEventsRead: &raftv1.MarkEventsRead{
		UserId: string(op.UserID), Ids: texts(op.IDs), UpTo: string(op.UpTo),
	}}
	return nil
}

// decodeEventOp reads the ops on events and channels.
func decodeEventOp(m *raftv1.Command) (Op, bool) {
	switch op := m.GetOp().(type) {
	case *raftv1.Command_RecordEvent:
		return decodeRecordEvent(op.RecordEvent), true
	case *raftv1.Command_MarkEventsRead:
		e := op.MarkEventsRead
		return MarkEventsRead{UserID: gestor.UserID(e.GetUserId()), IDs: ids[gestor.EventID](e.GetIds()), UpTo: gestor.EventID(e.GetUpTo())}, true
	case *raftv1.Command_CreateChannel:
		return CreateChannel{Channel: decodeChannel(op.CreateChannel.GetChannel())}, true
	case *raftv1.Command_UpdateChannel:
		u := op.UpdateChannel
		return UpdateChannel{Channel: decodeChannel(u.GetChannel()), ExpectedRevision: u.GetExpectedRevision()}, true
	case *raftv1.Command_DeleteChannel:
		return DeleteChannel{ID: gestor.ChannelID(op.DeleteChannel.GetId())}, true
	case *raftv1.Command_TestChannel:
		return TestChannel{ID: gestor.ChannelID(op.TestChannel.GetId()), Error: op.TestChannel.GetError()}, true
	case *raftv1.Command_RecordDelivery:
		return decodeRecordDelivery(op.RecordDelivery), true
	case *raftv1.Command_RetryDelivery:
		return RetryDelivery{ID: gestor.DeliveryID(op.RetryDelivery.GetId())}, true
	}
	return nil, false
}
