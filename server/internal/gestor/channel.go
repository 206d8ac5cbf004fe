package gestor

import (
	"fmt"
	"slices"
	"time"
)

// ChannelID names a channel: "chn_…".
type ChannelID string

// DeliveryID names a delivery: "dlv_…". It is the same for every attempt, so that receivers can tell repeats.
type DeliveryID string

// ChannelKind is where a channel leads.
type ChannelKind string

// The kinds of channels.
const (
	ChannelEmail    ChannelKind = "email"
	ChannelWebhook  ChannelKind = "webhook"
	ChannelSlack    ChannelKind = "slack"
	ChannelDiscord  ChannelKind = "discord"
	ChannelTelegram ChannelKind = "telegram"
)

// Channel is a way by which events reach people.
type Channel struct {
	ID           ChannelID
	TenantID     TenantID
	Kind         ChannelKind
	Name         string // unique in the tenant
	Address      string // an e-mail address, a webhook's URL, a chat of Telegram; empty where the URL is the secret
	Target       string // where it leads, as far as it may be shown
	SecretSealed []byte // the signing key, the bot's token, or the URL; sealed for ChannelPlace
	Rules        ChannelRules
	Disabled     bool
	Installation bool // tells of the events of the installation too; only operators may say so
	CreatedBy    string
	CreatedAt    time.Time
	Revision     uint64
}

// ChannelPlace is what the secret of a channel is sealed for.
func ChannelPlace(id ChannelID) string { return string(id) + "/secret" }

// ChannelRules say which events go through a channel, and when.
type ChannelRules struct {
	Severity Severity      `json:",omitempty"` // no less than this
	Kinds    []string      `json:",omitempty"` // those that KindWithin one of these; empty: all
	Narrow   Narrowing     // of these apps and environments; events of no app only if it narrows nothing
	Quiet    QuietHours    // when nothing is sent
	Repeat   time.Duration // for how long the same key is not told again; 0 tells every event
}

// Takes reports whether an event goes through the channel. environment is that of the event's app.
func (c Channel) Takes(e Event, environment string) bool {
	switch {
	case c.Disabled, e.TenantID == "" && !c.Installation, e.TenantID != "" && e.TenantID != c.TenantID:
		return false
	case e.ObjectID == string(c.ID): // its own failures do not go through it
		return false
	case e.Severity < c.Rules.Severity:
		return false
	case len(c.Rules.Kinds) > 0 && !slices.ContainsFunc(c.Rules.Kinds, func(k string) bool { return KindWithin(e.Kind, k) }):
		return false
	}
	if c.Rules.Narrow.IsZero() {
		return true
	}
	return e.AppID != "" && c.Rules.Narrow.Allows(e.AppID, environment)
}

// QuietHours are a time of the day in which nothing is sent. The zero value is never.
type QuietHours struct {
	Zone           string         `json:",omitempty"` // IANA; empty: UTC
	From           int            `json:",omitempty"` // minutes after midnight
	To             int            `json:",omitempty"` // minutes after midnight, on the next day if not after From
	Days           []time.Weekday `json:",omitempty"` // on which they begin; empty: every day
	CriticalPasses bool           `json:",omitempty"`
}

// IsZero reports whether there are no quiet hours.
func (q QuietHours) IsZero() bool { return q.From == 0 && q.To == 0 }

// End is when the quiet hours that now lies in are over, in zone; the zero time if it lies in none. Hours that follow on
// each other are one. Where a clock is put forward or back, they begin and end when the clock on the wall says so.
func (q QuietHours) End(now time.Time, zone *time.Location) time.Time {
	var end time.Time
	for range 8 { // a week of whole days, and one
		next := q.endOf(now, zone)
		if next.IsZero() {
			return end
		}
		now, end = next, next
	}
	return end
}

// endOf is the end of the latest of the periods that now lies in.
func (q QuietHours) endOf(now time.Time, zone *time.Location) time.Time {
	if q.IsZero() {
		return time.Time{}
	}
	local := now.In(zone)
	var end time.Time
	for _, back := range []int{1, 0} {
		day := time.Date(local.Year(), local.Month(), local.Day()-back, 12, 0, 0, 0, zone)
		if len(q.Days) > 0 && !slices.Contains(q.Days, day.Weekday()) {
			continue
		}
		from, to := at(day, 0, q.From), at(day, 0, q.To)
		if q.To <= q.From {
			to = at(day, 1, q.To)
		}
		if !now.Before(from) && now.Before(to) && to.After(end) {
			end = to
		}
	}
	return end
}

func at(day time.Time, later, minute int) time.Time {
	return time.Date(day.Year(), day.Month(), day.Day()+later, 0, minute, 0, 0, day.Location())
}

// NewDeliveryID is the id of the n-th delivery of a Raft entry. Later entries give greater ids.
func NewDeliveryID(index uint64, n int) DeliveryID {
	return DeliveryID(fmt.Sprintf("dlv_%013x%04x", index, n))
}

// DeliveryState is how far a delivery is.
type DeliveryState string

// A delivery is queued until it was taken, was given up, or its channel was disabled.
const (
	DeliveryQueued  DeliveryState = "queued"
	DeliverySent    DeliveryState = "sent"
	DeliveryFailed  DeliveryState = "failed"
	DeliveryDropped DeliveryState = "dropped"
)

// Delivery is one message of a channel, about an event and perhaps more of the same sort.
type Delivery struct {
	ID        DeliveryID
	TenantID  TenantID // of the channel
	ChannelID ChannelID
	Event     Event // as it was when the delivery was made
	More      int64 // how many more events it tells of
	State     DeliveryState
	Attempts  int
	Error     string // why the last attempt failed
	CreatedAt time.Time
	DueAt     time.Time // from when on it was to be sent; what is repeated counts from here, as does giving up
	NextAt    time.Time // when it is tried next
	EndedAt   time.Time
	Revision  uint64
}
