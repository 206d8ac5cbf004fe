package gestor

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
)

// EventID names an event: "evt_…". The id of a later event is greater.
type EventID string

// Severity is how much an event matters.
type Severity int

// The severities. Their numbers are stored.
const (
	SeverityInfo     Severity = 1 // good to know
	SeverityWarning  Severity = 2 // somebody should look, some time
	SeverityError    Severity = 3 // something does not work
	SeverityCritical Severity = 4 // somebody must act now
)

// String is the severity's name.
func (s Severity) String() string {
	switch s {
	case SeverityInfo:
		return "info"
	case SeverityWarning:
		return "warning"
	case SeverityError:
		return "error"
	case SeverityCritical:
		return "critical"
	}
	return fmt.Sprintf("severity %d", int(s))
}

// The kinds of events. Clients write their text by kind and Data; a new kind needs no new client, because of Title.
const (
	EventNodeEnrolled         = "node.enrolled"
	EventNodeLost             = "node.lost"
	EventNodeBack             = "node.back"
	EventNodeDeleted          = "node.deleted"
	EventDeploymentSucceeded  = "deployment.succeeded"
	EventDeploymentFailed     = "deployment.failed"
	EventDeploymentReverted   = "deployment.reverted"
	EventDeploymentWaiting    = "deployment.waiting" // for the approval of a person
	EventBuildFailed          = "build.failed"
	EventServerJoined         = "server.joined"
	EventServerRemoved        = "server.removed"
	EventServerUnreachable    = "server.unreachable"
	EventServerBack           = "server.back"
	EventBackupFailed         = "backup.failed"
	EventBackupBack           = "backup.back"
	EventTenantSuspended      = "tenant.suspended"
	EventQuotaReached         = "quota.reached"
	EventUserBlocked          = "user.blocked"
	EventUserJoined           = "user.joined" // by signing in through a provider
	EventProviderChanged      = "provider.changed"
	EventSignInNewNetwork     = "session.new_network"
	EventKeyLost              = "key.lost"
	EventAuditBroken          = "audit.broken"
	EventChannelFailing       = "channel.failing"
	EventChannelTest          = "channel.test" // never stored: what a test sends
	EventCertificateEnding    = "certificate.ending"
	EventJoinTokenUsedByOther = "node.token_reused" //nolint:gosec // the name of an event
)

// Event is something that people want to hear of.
type Event struct {
	ID         EventID  // given by the state machine
	TenantID   TenantID // empty: of the installation, seen by operators
	Severity   Severity
	Kind       string // "node.lost"
	ObjectKind string // "node"
	ObjectID   string
	AppID      AppID             // the app it is about; people who are narrowed see the events of their apps alone
	Title      string            // what happened, in English, on one line
	Data       map[string]string // the facts, for clients that write the text; never a secret
	Key        string            // events of the same key within BurstTime are one; empty: always one of its own

	CreatedAt time.Time // given by the state machine, as are those that follow
	LastAt    time.Time
	Count     int64
	Revision  uint64
}

// Bounds of events.
const (
	BurstTime        = 10 * time.Minute    // how long events of the same key add to the first
	EventsKept       = 90 * 24 * time.Hour // how long events stay
	MostEvents       = 5000                // of a tenant, the newest
	MostReads        = 500                 // read one by one and remembered as such, of a user
	DeliveriesKept   = 14 * 24 * time.Hour // how long deliveries that ended stay
	MostWaiting      = 100                 // deliveries of a channel that wait; later events are counted only
	mostEventTitle   = 300
	mostEventData    = 20
	mostEventDatum   = 500
	mostEventKey     = 200
	mostKindOfEvents = 100
)

// NewEventID is the id of the n-th event of a Raft entry. Later entries give greater ids.
func NewEventID(index uint64, n int) EventID { return EventID(fmt.Sprintf("evt_%013x%04x", index, n)) }

// Validate checks an event that comes from outside of the state machine.
func (e Event) Validate() error {
	if e.Severity < SeverityInfo || e.Severity > SeverityCritical {
		return fault.Invalid("severity", "an event has a severity from 1 to 4, not %d", int(e.Severity))
	}
	if err := CheckEventKind("kind", e.Kind); err != nil {
		return err
	}
	if len(e.Key) > mostEventKey || len(e.ObjectID) > mostEventKey || len(e.ObjectKind) > mostEventKey {
		return fault.Invalid("key", "the key and the object of an event have at most %d bytes", mostEventKey)
	}
	return nil
}

// CheckEventKind checks a kind, or the beginning of kinds: words of lower-case letters with dots between them.
func CheckEventKind(field, kind string) error {
	ok := kind != "" && len(kind) <= mostKindOfEvents && isLower(kind[0]) &&
		only(kind, func(c byte) bool { return isLower(c) || isDigit(c) || c == '.' || c == '_' })
	if !ok {
		return fault.Invalid(field, "%s is no kind of events", quote(kind)).WithFix("write one like node.lost, or node for all of nodes")
	}
	return nil
}

// KindWithin reports whether a kind is one that a prefix stands for: "node" for "node.lost", not for "nodes.lost".
func KindWithin(kind, prefix string) bool {
	return kind == prefix || strings.HasPrefix(kind, strings.TrimSuffix(prefix, ".")+".")
}

// Bounded is e with a title and facts that are text and of bounded size. What is cut was too long to be read anyway.
func (e Event) Bounded() Event {
	e.Title = oneLine(e.Title, mostEventTitle)
	if len(e.Data) == 0 {
		e.Data = nil
		return e
	}
	data := make(map[string]string, len(e.Data))
	for name, value := range e.Data {
		data[oneLine(name, mostEventKey)] = oneLine(value, mostEventDatum)
	}
	names := make([]string, 0, len(data))
	for name := range data {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names[min(len(names), mostEventData):] {
		delete(data, name)
	}
	e.Data = data
	return e
}

// oneLine is s as valid text without control characters, cut to most bytes.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if isControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if len(s) <= most {
		return s
	}
	cut := s[:most-len("…")]
	for !utf8.ValidString(cut) {
		cut = cut[:len(cut)-1]
	}
	return cut + "…"
}

// EventReads is what a user has read: all up to an event, and some after it. The zero value is nothing.
type EventReads struct {
	UserID   UserID
	TenantID TenantID
	UpTo     EventID
	Others   []EventID // in order, all after UpTo
	Revision uint64
}

// Has reports whether an event was read.
func (r EventReads) Has(id EventID) bool {
	if id <= r.UpTo {
		return true
	}
	_, found := slices.BinarySearch(r.Others, id)
	return found
}

// Add marks events as read, and all up to one. What is remembered is bounded: of more than MostReads that were read one by
// one, what lies before the oldest counts as read too.
func (r EventReads) Add(upTo EventID, ids ...EventID) EventReads {
	r.UpTo = max(r.UpTo, upTo)
	others := append(slices.Clone(r.Others), ids...)
	slices.Sort(others)
	others = slices.Compact(others)
	if over := len(others) - MostReads; over > 0 {
		r.UpTo = max(r.UpTo, others[over-1])
	}
	r.Others = slices.DeleteFunc(others, func(id EventID) bool { return id <= r.UpTo })
	return r
}
