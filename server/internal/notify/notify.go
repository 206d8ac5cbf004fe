// Package notify carries events out to people who are not looking: it works off the deliveries that the state machine
// queues, on the server that leads. Every delivery is sent at least once; a leader that is replaced between sending and
// writing that down has it sent again, with the same id for receivers to tell it by. A receiver that is slow or dead keeps
// its own messages waiting and nobody else's. Which events make which deliveries is decided in the state machine, not here.
package notify

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
	_ "time/tzdata" // quiet hours are the same on every server, whatever is installed there

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what this package needs of replication and state.
type Engine interface {
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	View(s gestor.Scope) *state.View
	Watch(tables ...state.Table) *state.Subscription
}

// Options are what a Service is made of.
type Options struct {
	Engine Engine
	Sender *Sender
	Log    *slog.Logger // nil discards
	Now    func() time.Time

	AtOnce  int           // messages on their way; 0: 64
	Failing int           // of those, by channels that fail; 0: 16
	Pause   time.Duration // after a failure of the state; 0: 1 s
}

// Service works off deliveries.
type Service struct{ o Options }

// New makes a Service. Its RunTerm is to be run while this server leads.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.AtOnce, o.Failing, o.Pause = cmp.Or(o.AtOnce, 64), cmp.Or(o.Failing, 16), cmp.Or(o.Pause, time.Second)
	return &Service{o: o}
}

// How often and how long a delivery is tried.
const (
	firstBackOff   = time.Minute
	longestBackOff = 6 * time.Hour
	giveUpAfter    = 24 * time.Hour
	longestRest    = 5 * time.Minute // of a channel that fails, between any two of its messages
	firstRest      = 10 * time.Second
	ofEachChannel  = 4 // deliveries that are looked at
)

// term is the work of one time of leading.
type term struct {
	*Service
	done chan gestor.ChannelID // a message of a channel is off its way

	mu    sync.Mutex
	rests map[gestor.ChannelID]rest // guarded by mu: of channels that fail
}

// rest is how long a channel that fails is left alone.
type rest struct {
	failures int
	until    time.Time
	revision uint64 // of the channel then; a change of it ends the rest
}

// RunTerm sends what is due until ctx ends with this server's leadership. It returns with nothing on its way.
func (s *Service) RunTerm(ctx context.Context) error {
	news := s.o.Engine.Watch(state.Deliveries, state.Channels)
	defer news.Close()
	t := &term{Service: s, done: make(chan gestor.ChannelID, s.o.AtOnce), rests: map[gestor.ChannelID]rest{}}
	var senders sync.WaitGroup
	defer senders.Wait()
	busy := map[gestor.ChannelID]bool{}
	for {
		wake, err := t.begin(ctx, busy, &senders)
		if err != nil && ctx.Err() == nil {
			s.o.Log.Error("deliveries cannot be read", "err", err)
			wake = s.o.Now().Add(s.o.Pause)
		}
		if !t.wait(ctx, news, wake, busy) {
			return nil
		}
	}
}

// wait returns when there may be something to do, false if that is never.
func (t *term) wait(ctx context.Context, news *state.Subscription, wake time.Time, busy map[gestor.ChannelID]bool) bool {
	var alarm <-chan time.Time
	if !wake.IsZero() {
		timer := time.NewTimer(max(wake.Sub(t.o.Now()), 0))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case id := <-t.done:
		delete(busy, id)
	case <-news.C:
	case <-alarm:
	}
	return true
}

// begin sends what is due of channels that are not busy, and returns when the next is; the zero time if none is known.
func (t *term) begin(ctx context.Context, busy map[gestor.ChannelID]bool, senders *sync.WaitGroup) (time.Time, error) {
	view := t.o.Engine.View(gestor.SystemScope())
	waiting, err := view.DueDeliveries(ctx, ofEachChannel)
	if err != nil {
		return time.Time{}, err
	}
	var wake time.Time
	failing := t.failing(busy)
	for _, d := range waiting {
		if busy[d.ChannelID] || len(busy) >= t.o.AtOnce {
			continue
		}
		ch, err := view.Channel(ctx, d.ChannelID)
		if errors.Is(err, fault.KindNotFound) {
			continue // removed this moment
		}
		if err != nil {
			return time.Time{}, err
		}
		at, bad := t.dueAt(d, ch)
		if at.After(t.o.Now()) {
			wake = sooner(wake, at)
			continue
		}
		if bad && failing >= t.o.Failing {
			continue // one of them will be done
		}
		if bad {
			failing++
		}
		busy[ch.ID] = true
		senders.Go(func() {
			t.handle(ctx, ch, d)
			t.done <- ch.ID // never waits: it has room for all that are busy
		})
	}
	return wake, nil
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// dueAt is when a delivery may be tried, and whether its channel fails.
func (t *term) dueAt(d gestor.Delivery, ch gestor.Channel) (time.Time, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, bad := t.rests[ch.ID]
	if bad && r.revision != ch.Revision {
		delete(t.rests, ch.ID)
		bad = false
	}
	if bad && r.until.After(d.NextAt) {
		return r.until, true
	}
	return d.NextAt, bad
}

func (t *term) failing(busy map[gestor.ChannelID]bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	for id := range busy {
		if _, bad := t.rests[id]; bad {
			n++
		}
	}
	return n
}

// handle tries a delivery once and writes down what came of it.
func (t *term) handle(ctx context.Context, ch gestor.Channel, d gestor.Delivery) {
	op := command.RecordDelivery{ID: d.ID, Attempts: d.Attempts}
	switch quiet := t.quietUntil(ch, d); {
	case ch.Disabled:
		op.State = gestor.DeliveryDropped
	case !quiet.IsZero():
		op.State, op.NextAt, op.Error, op.Held = gestor.DeliveryQueued, quiet, d.Error, true
	default:
		err := t.o.Sender.Send(ctx, ch, d)
		if ctx.Err() != nil {
			return // whoever leads next finds it as it was
		}
		t.note(ch, err)
		op = t.outcome(op, d, err)
	}
	t.record(ctx, op)
}

// quietUntil is the end of the quiet hours a delivery falls into; the zero time if it falls into none.
func (t *term) quietUntil(ch gestor.Channel, d gestor.Delivery) time.Time {
	q := ch.Rules.Quiet
	if q.CriticalPasses && d.Event.Severity == gestor.SeverityCritical {
		return time.Time{}
	}
	zone, err := time.LoadLocation(q.Zone)
	if err != nil {
		zone = time.UTC // it was checked when it was chosen; a message at the wrong hour is better than none
	}
	return q.End(t.o.Now(), zone)
}

// outcome is what to write down of an attempt.
func (t *term) outcome(op command.RecordDelivery, d gestor.Delivery, err error) command.RecordDelivery {
	if err == nil {
		op.State = gestor.DeliverySent
		return op
	}
	now := t.o.Now()
	op.State, op.Error, op.NextAt = gestor.DeliveryQueued, Text(err), now.Add(backOff(d.Attempts, err))
	if isFinal(err) || op.NextAt.Sub(d.DueAt) > giveUpAfter {
		op.State, op.NextAt = gestor.DeliveryFailed, time.Time{}
	}
	t.o.Log.Warn("notification not delivered", "channel", d.ChannelID, "delivery", d.ID, "attempt", d.Attempts+1, "state", op.State, "err", err)
	return op
}

// backOff is how long to wait after an attempt with so many before it.
func backOff(before int, err error) time.Duration {
	wait := longestBackOff
	if before < 16 {
		wait = min(firstBackOff<<before, longestBackOff)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		wait = max(wait, min(f.RetryAfter, longestBackOff))
	}
	return wait
}

// isFinal reports whether trying again is of no use.
func isFinal(err error) bool {
	return errors.Is(err, fault.KindInvalid) || errors.Is(err, fault.KindConflict) || errors.Is(err, fault.KindDenied)
}

// note remembers how a channel does.
func (t *term) note(ch gestor.Channel, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.rests, ch.ID)
		return
	}
	r := t.rests[ch.ID]
	pause := longestRest
	if r.failures < 6 {
		pause = min(firstRest<<r.failures, longestRest)
	}
	t.rests[ch.ID] = rest{failures: r.failures + 1, until: t.o.Now().Add(pause), revision: ch.Revision}
}

// record writes an outcome down, however long that takes while this server leads: what is not written is sent again.
func (t *term) record(ctx context.Context, op command.RecordDelivery) {
	for {
		_, err := t.o.Engine.Propose(ctx, command.Command{At: t.o.Now(), Actor: gestor.SystemActor("notify"), Op: op})
		switch {
		case err == nil, ctx.Err() != nil:
			return
		case errors.Is(err, fault.KindConflict), errors.Is(err, fault.KindNotFound):
			t.o.Log.Debug("outcome of a delivery was refused", "delivery", op.ID, "err", err)
			return
		}
		t.o.Log.Warn("outcome of a delivery not written", "delivery", op.ID, "err", err)
		pause := time.NewTimer(t.o.Pause)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
	}
}

// Text is an error as people may see it: words of our own, and nothing that a receiver answered.
func Text(err error) string {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f.Error()
	}
	return "it could not be sent; the log of the control server says why"
}
