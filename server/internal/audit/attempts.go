package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Proposer writes to the state.
type Proposer interface {
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
}

// Attempt is something that was refused before it became a command.
type Attempt struct {
	Actor     gestor.Actor    // who; Action is the method's, if it has one. Of nobody known: Kind "anonymous" and Address
	Tenant    gestor.TenantID // whose audit log tells of it; empty for the actor's
	Procedure string          // what was called
	Object    string          // the id it was tried on, if one is known to be there: an account, for example
	Reason    string          // why not, one word: "permission", "step_up", "suspended", "password" …
}

// ActionRefused is the action of attempts on methods that have none of their own, as those that only read.
const ActionRefused = "access.refuse"

// ActionOmitted is the action of the entry that counts attempts for which there was no room.
const ActionOmitted = "audit.omit"

// AttemptOptions bound what is written. Zeroes mean the defaults.
type AttemptOptions struct {
	Engine Proposer
	Now    func() time.Time
	Every  time.Duration // between writes; 1 s
	Window time.Duration // in which what is alike is one entry with a count; 1 min
	Party  int           // entries of one caller or network in a window; 10
	All    int           // entries in a window; 120
	Kinds  int           // different attempts in memory; 4096
	Log    *slog.Logger  // nil discards
}

// Attempts gathers refused attempts in memory and writes them as entries of the audit log: the first of a kind within a
// second, its repetitions once in a window with their count. What exceeds the bounds is counted, and the count is written. What
// was not written when the server stops is lost. It is safe for concurrent use; its owner calls Run.
type Attempts struct {
	o AttemptOptions

	mu      sync.Mutex
	kinds   map[kind]*gathered // guarded by mu
	omitted int64              // attempts without a place, not yet told; guarded by mu
	window  time.Time          // when the window began; guarded by mu
	used    map[string]int     // entries in the window by party; guarded by mu
	all     int                // entries in the window; guarded by mu
	told    bool               // whether the window has told of what was omitted; guarded by mu
}

// kind is what makes attempts alike.
type kind struct {
	tenant                                         gestor.TenantID
	party, session, action, procedure, object, why string
}

// gathered are attempts of one kind.
type gathered struct {
	actor       gestor.Actor // of the first
	count       int64        // since the last write
	first, last time.Time
	written     time.Time // zero for never
}

// NewAttempts makes an Attempts.
func NewAttempts(o AttemptOptions) *Attempts {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Every, o.Window = cmp.Or(o.Every, time.Second), cmp.Or(o.Window, time.Minute)
	o.Party, o.All, o.Kinds = cmp.Or(o.Party, 10), cmp.Or(o.All, 120), cmp.Or(o.Kinds, 4096)
	return &Attempts{o: o, kinds: map[kind]*gathered{}, used: map[string]int{}}
}

// Refused takes an attempt. It never waits and writes nothing.
func (a *Attempts) Refused(_ context.Context, t Attempt) {
	k := kindOf(&t)
	now := a.o.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	g, ok := a.kinds[k]
	switch {
	case !ok && len(a.kinds) >= a.o.Kinds:
		a.omitted++
		return
	case !ok:
		g = &gathered{actor: t.Actor}
		a.kinds[k] = g
	}
	if g.count == 0 {
		g.first = now
	}
	g.count++
	g.last = now
}

// kindOf also takes from an attempt of nobody known what the party chose itself: only the network counts.
func kindOf(t *Attempt) kind {
	t.Actor.Action = cmp.Or(t.Actor.Action, ActionRefused)
	k := kind{tenant: cmp.Or(t.Tenant, t.Actor.TenantID), action: t.Actor.Action, object: t.Object, why: t.Reason}
	if t.Actor.ID == "" && t.Actor.TokenID == "" {
		t.Actor = gestor.Actor{Kind: "anonymous", Address: auth.Network(t.Actor.Address), Action: t.Actor.Action}
		k.party = t.Actor.Address
		return k
	}
	k.party, k.procedure = cmp.Or(t.Actor.ID, string(t.Actor.TokenID)), t.Procedure
	k.session = cmp.Or(string(t.Actor.SessionID), string(t.Actor.TokenID))
	return k
}

// Run writes what was gathered until ctx ends.
func (a *Attempts) Run(ctx context.Context) error {
	tick := time.NewTicker(a.o.Every)
	defer tick.Stop()
	troubled := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := a.Flush(ctx)
		if err != nil && !troubled && ctx.Err() == nil {
			a.o.Log.Warn("refused attempts are not in the audit log yet", "err", err)
		}
		troubled = err != nil
	}
}

// due is a kind that is about to be written.
type due struct {
	kind  kind
	count int64
	entry gestor.AuditEntry
}

// writeLimit bounds one write, so that a cluster without a leader does not hold what comes.
const writeLimit = 10 * time.Second

// Flush writes what is due now. What cannot be written stays, and is tried again by the next call.
func (a *Attempts) Flush(ctx context.Context) error {
	batch, omitted := a.take()
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeLimit)
	defer cancel()
	op := command.RecordAudit{}
	for _, d := range batch {
		op.Entries = append(op.Entries, d.entry)
	}
	_, err := a.o.Engine.Propose(ctx, command.Command{At: a.o.Now(), Actor: gestor.SystemActor("audit"), Op: op})
	if errors.Is(err, fault.KindConflict) {
		err = nil // a state of a lower level has no place for them
	}
	if err != nil {
		a.putBack(omitted)
		return fmt.Errorf("write %d refused attempts: %w", len(batch), err)
	}
	a.written(batch)
	return nil
}

// take chooses what is due and has room. What has none is counted as omitted.
func (a *Attempts) take() (batch []due, omitted int64) {
	now := a.o.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if now.Sub(a.window) >= a.o.Window {
		a.window, a.all, a.told = now, 0, false
		clear(a.used)
	}
	for k, g := range a.kinds {
		switch fresh := now.Sub(g.written) < a.o.Window; {
		case fresh:
		case g.count == 0:
			delete(a.kinds, k)
		case a.used[k.party] >= a.o.Party || a.all >= a.o.All:
			a.omitted += g.count
			delete(a.kinds, k)
		default:
			a.used[k.party]++
			a.all++
			batch = append(batch, due{kind: k, count: g.count, entry: entryOf(k, g)})
		}
	}
	slices.SortFunc(batch, func(x, y due) int { return x.entry.At.Compare(y.entry.At) })
	if a.omitted > 0 && !a.told {
		omitted, a.omitted, a.told = a.omitted, 0, true
		batch = append(batch, due{entry: omission(omitted, now)})
	}
	return batch, omitted
}

func (a *Attempts) putBack(omitted int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.omitted += omitted
	a.told = a.told && omitted == 0
}

func (a *Attempts) written(batch []due) {
	now := a.o.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range batch {
		if g, ok := a.kinds[d.kind]; ok {
			g.count -= d.count
			g.first, g.written = g.last, now
		}
	}
}

func entryOf(k kind, g *gathered) gestor.AuditEntry {
	detail := map[string]any{"reason": k.why}
	if k.procedure != "" {
		detail["procedure"] = k.procedure
	}
	if g.count > 1 {
		detail["attempts"], detail["since"] = g.count, g.first.UTC().Format(time.RFC3339)
	}
	return gestor.AuditEntry{
		TenantID: k.tenant, At: g.last, Actor: g.actor, Action: k.action, Object: k.object,
		Severity: gestor.AuditWarning, Outcome: gestor.OutcomeRefused, Detail: Detail(detail),
	}
}

func omission(attempts int64, now time.Time) gestor.AuditEntry {
	actor := gestor.SystemActor("audit")
	actor.Action = ActionOmitted
	return gestor.AuditEntry{
		At: now, Actor: actor, Action: ActionOmitted, Severity: gestor.AuditWarning, Outcome: gestor.OutcomeRefused,
		Detail: Detail(map[string]any{"attempts": attempts}),
	}
}

// Detail is a detail of an entry as JSON.
func Detail(detail map[string]any) string {
	b, err := json.Marshal(detail)
	if err != nil {
		panic(fmt.Sprintf("a detail is plain data: %v", err))
	}
	return string(b)
}
