package command

import (
	"time"

	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// CreateChannel makes a channel.
type CreateChannel struct{ Channel gestor.Channel }

func (CreateChannel) needs() uint32 { return 2 }

func (op CreateChannel) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_CreateChannel{CreateChannel: &raftv1.CreateChannel{Channel: encodeChannel(op.Channel)}}
	return nil
}

// UpdateChannel replaces a channel; without a secret it keeps the old one.
type UpdateChannel struct {
	Channel          gestor.Channel
	ExpectedRevision uint64 // 0 takes any
}

func (UpdateChannel) needs() uint32 { return 2 }

func (op UpdateChannel) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_UpdateChannel{UpdateChannel: &raftv1.UpdateChannel{
		Channel: encodeChannel(op.Channel), ExpectedRevision: op.ExpectedRevision,
	}}
	return nil
}

// DeleteChannel removes a channel and what waits in it.
type DeleteChannel struct{ ID gestor.ChannelID }

func (DeleteChannel) needs() uint32 { return 2 }

func (op DeleteChannel) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_DeleteChannel{DeleteChannel: &raftv1.DeleteChannel{Id: string(op.ID)}}
	return nil
}

// TestChannel records that somebody tried a channel out.
type TestChannel struct {
	ID    gestor.ChannelID
	Error string // empty if it worked
}

func (TestChannel) needs() uint32 { return 2 }

func (op TestChannel) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_TestChannel{TestChannel: &raftv1.TestChannel{Id: string(op.ID), Error: op.Error}}
	return nil
}

// RecordDelivery records what came of an attempt, or that a delivery is held back.
type RecordDelivery struct {
	ID       gestor.DeliveryID
	Attempts int // how many there were before; another number refuses it
	State    gestor.DeliveryState
	NextAt   time.Time
	Error    string
	Held     bool // nothing was tried
}

func (RecordDelivery) needs() uint32 { return 2 }

func (op RecordDelivery) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RecordDelivery{RecordDelivery: &raftv1.RecordDelivery{
		Id:       string(op.ID),
		Attempts: int32(op.Attempts),
		State:    deliveryStates.encode(op.State),
		NextAt:   stamp(op.NextAt),
		Error:    op.Error,
		Held:     op.Held,
	}}
	return nil
}

func decodeRecordDelivery(m *raftv1.RecordDelivery) RecordDelivery {
	return RecordDelivery{
		ID:       gestor.DeliveryID(m.GetId()),
		Attempts: int(m.GetAttempts()),
		State:    deliveryStates.decode(m.GetState()),
		NextAt:   moment(m.GetNextAt()),
		Error:    m.GetError(),
		Held:     m.GetHeld(),
	}
}

// RetryDelivery queues a delivery that failed again.
type RetryDelivery struct{ ID gestor.DeliveryID }

func (RetryDelivery) needs() uint32 { return 2 }

func (op RetryDelivery) encode(m *raftv1.Command) error {
	m.Op = &raftv1.Command_RetryDelivery{RetryDelivery: &raftv1.RetryDelivery{Id: string(op.ID)}}
	return nil
}

var deliveryStates = names[gestorv1.DeliveryState, gestor.DeliveryState]{
	gestorv1.DeliveryState_DELIVERY_STATE_QUEUED:  gestor.DeliveryQueued,
	gestorv1.DeliveryState_DELIVERY_STATE_SENT:    gestor.DeliverySent,
	gestorv1.DeliveryState_DELIVERY_STATE_FAILED:  gestor.DeliveryFailed,
	gestorv1.DeliveryState_DELIVERY_STATE_DROPPED: gestor.DeliveryDropped,
}

var channelKinds = names[gestorv1.ChannelKind, gestor.ChannelKind]{
	gestorv1.ChannelKind_CHANNEL_KIND_EMAIL:    gestor.ChannelEmail,
	gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK:  gestor.ChannelWebhook,
	gestorv1.ChannelKind_CHANNEL_KIND_SLACK:    gestor.ChannelSlack,
	gestorv1.ChannelKind_CHANNEL_KIND_DISCORD:  gestor.ChannelDiscord,
	gestorv1.ChannelKind_CHANNEL_KIND_TELEGRAM: gestor.ChannelTelegram,
}

func encodeChannel(c gestor.Channel) *raftv1.ChannelRecord {
	return &raftv1.ChannelRecord{
		Id:           string(c.ID),
		Kind:         channelKinds.encode(c.Kind),
		Target:       c.Target,
		SecretSealed: c.SecretSealed,
		Settings: &gestorv1.ChannelSettings{
			Name:         c.Name,
			Address:      c.Address,
			Severity:     gestorv1.EventSeverity(c.Rules.Severity),
			Kinds:        c.Rules.Kinds,
			Apps:         texts(c.Rules.Narrow.Apps),
			Environments: c.Rules.Narrow.Environments,
			Quiet:        encodeQuiet(c.Rules.Quiet),
			Repeat:       span(c.Rules.Repeat),
			Disabled:     c.Disabled,
			Installation: c.Installation,
		},
	}
}

func encodeQuiet(q gestor.QuietHours) *gestorv1.QuietHours {
	var days []int32
	for _, d := range q.Days {
		days = append(days, int32(d))
	}
	return &gestorv1.QuietHours{
		TimeZone: q.Zone, FromMinute: int32(q.From), ToMinute: int32(q.To), Days: days, CriticalPasses: q.CriticalPasses,
	}
}

func decodeChannel(m *raftv1.ChannelRecord) gestor.Channel {
	s := m.GetSettings()
	return gestor.Channel{
		ID:           gestor.ChannelID(m.GetId()),
		Kind:         channelKinds.decode(m.GetKind()),
		Name:         s.GetName(),
		Address:      s.GetAddress(),
		Target:       m.GetTarget(),
		SecretSealed: m.GetSecretSealed(),
		Disabled:     s.GetDisabled(),
		Installation: s.GetInstallation(),
		Rules: gestor.ChannelRules{
			Severity: gestor.Severity(s.GetSeverity()),
			Kinds:    s.GetKinds(),
			Narrow:   gestor.Narrowing{Apps: ids[gestor.AppID](s.GetApps()), Environments: s.GetEnvironments()},
			Quiet:    decodeQuiet(s.GetQuiet()),
			Repeat:   s.GetRepeat().AsDuration(),
		},
	}
}

func decodeQuiet(m *gestorv1.QuietHours) gestor.QuietHours {
	var days []time.Weekday
	for _, d := range m.GetDays() {
		days = append(days, time.Weekday(d))
	}
	return gestor.QuietHours{
		Zone: m.GetTimeZone(), From: int(m.GetFromMinute()), To: int(m.GetToMinute()), Days: days, CriticalPasses: m.GetCriticalPasses(),
	}
}
