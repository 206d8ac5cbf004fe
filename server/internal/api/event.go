package api

import (
	"cmp"
	"context"
	"slices"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// EventDeps are what the event service needs; all of it.
type EventDeps struct {
	Engine Engine
}

// EventService shows what people want to hear of.
type EventService struct{ deps EventDeps }

var _ gestorv1connect.EventServiceHandler = (*EventService)(nil)

// NewEventService makes the service.
func NewEventService(d EventDeps) *EventService { return &EventService{deps: d} }

// eventReachOf is reachOf that sees the events of the installation if the caller is one who looks after it.
func eventReachOf(ctx context.Context, e Engine) (reach, error) {
	r, err := reachOf(ctx, e)
	if err != nil {
		return r, err
	}
	if r.caller.May(gestorv1.Permission_PERMISSION_SERVER_READ) {
		r.view = e.View(r.caller.Scope().WithInstallation())
	}
	return r, nil
}

// ListEvents lists events, newest first.
func (s *EventService) ListEvents(ctx context.Context, req *gestorv1.ListEventsRequest) (*gestorv1.ListEventsResponse, error) {
	r, err := eventReachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	reads, err := r.view.EventReads(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	filter, err := r.eventFilter(ctx, req.GetFilter())
	if err != nil {
		return nil, err
	}
	if req.GetFilter().GetUnread() {
		filter.Unread = &reads
	}
	events, next, err := r.view.Events(ctx, filter, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	return &gestorv1.ListEventsResponse{Events: eventsOut(events, reads), Page: pageOut(next)}, nil
}

func (r reach) eventFilter(ctx context.Context, in *gestorv1.EventFilter) (state.EventFilter, error) {
	f := state.EventFilter{Severity: gestor.Severity(in.GetSeverity()), Kind: in.GetKind()}
	if in.GetSince() != nil {
		f.Since = in.GetSince().AsTime()
	}
	if in.GetUntil() != nil {
		f.Until = in.GetUntil().AsTime()
	}
	if f.Kind != "" {
		if err := gestor.CheckEventKind("filter.kind", f.Kind); err != nil {
			return f, err
		}
	}
	if in.GetApp() == "" {
		return f, nil
	}
	app, err := r.app(ctx, in.GetApp())
	f.App = app.ID
	return f, err
}

// GetUnread counts what the caller has not read.
func (s *EventService) GetUnread(ctx context.Context, _ *gestorv1.GetUnreadRequest) (*gestorv1.GetUnreadResponse, error) {
	r, err := eventReachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	unread, err := r.unread(ctx)
	return &gestorv1.GetUnreadResponse{Unread: unread}, err
}

func (r reach) unread(ctx context.Context) (*gestorv1.UnreadCounts, error) {
	reads, err := r.view.EventReads(ctx, r.caller.User.ID)
	if err != nil {
		return nil, err
	}
	counts, err := r.view.UnreadEvents(ctx, reads)
	return unreadOut(counts), err
}

// MarkRead marks events as read by the caller. Events that the caller does not see are not found.
func (s *EventService) MarkRead(ctx context.Context, req *gestorv1.MarkReadRequest) (*gestorv1.MarkReadResponse, error) {
	r, err := eventReachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if r.caller.User.ID == "" {
		return nil, fault.Denied("only people read events: this token is nobody's").WithFix("use a personal token")
	}
	op := command.MarkEventsRead{UserID: r.caller.User.ID, UpTo: gestor.EventID(req.GetUpTo())}
	for _, id := range append(slices.Clone(req.GetIds()), req.GetUpTo()) {
		if id == "" {
			continue
		}
		if _, err := r.view.Event(ctx, gestor.EventID(id)); err != nil {
			return nil, absent(err, "event", id)
		}
	}
	for _, id := range req.GetIds() {
		op.IDs = append(op.IDs, gestor.EventID(id))
	}
	if op.UpTo == "" && len(op.IDs) == 0 {
		return nil, fault.Invalid("ids", "no event is named").WithFix("name events by their ids, or the last that was read")
	}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	unread, err := r.unread(ctx)
	return &gestorv1.MarkReadResponse{Unread: unread}, err
}

// Sizes of what watchers get.
const (
	newestEvents  = 50
	mostChanged   = 500
	ofEachMessage = 100
)

// WatchEvents sends the newest events, then every change of events and of what the caller has read.
func (s *EventService) WatchEvents(ctx context.Context, req *gestorv1.WatchEventsRequest, stream *connect.ServerStream[gestorv1.WatchEventsResponse]) error {
	r, err := eventReachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	filter, err := r.eventFilter(ctx, req.GetFilter())
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	w := eventWatch{reach: r, filter: filter, revision: req.GetAfterRevision(), newest: int(req.GetNewest()), first: true}
	return follow(ctx, s.deps.Engine, func() (bool, error) {
		changed, err := w.next(ctx)
		if err != nil || len(changed) == 0 && !w.news {
			return false, err
		}
		return false, w.send(ctx, stream, changed)
	}, state.Events)
}

// eventWatch is what a watcher of events knows.
type eventWatch struct {
	reach
	filter   state.EventFilter
	newest   int
	first    bool
	news     bool // there is something to say besides events
	revision uint64
	reads    gestor.EventReads
}

// next is what changed since the last call, oldest first.
func (w *eventWatch) next(ctx context.Context) ([]gestor.Event, error) {
	reads, err := w.view.EventReads(ctx, w.caller.User.ID)
	if err != nil {
		return nil, err
	}
	changed, err := w.changed(ctx)
	if err != nil {
		return nil, err
	}
	w.news = w.first || reads.Revision > w.reads.Revision
	if reads.Revision > w.revision && (w.revision > 0 || !w.first) {
		if changed, err = w.readMeanwhile(ctx, changed, reads); err != nil {
			return nil, err
		}
	}
	w.first, w.reads, w.revision = false, reads, max(w.revision, reads.Revision)
	for _, e := range changed {
		w.revision = max(w.revision, e.Revision)
	}
	return changed, nil
}

func (w *eventWatch) changed(ctx context.Context) ([]gestor.Event, error) {
	if !w.first || w.revision > 0 {
		return w.view.EventsChangedSince(ctx, w.revision, w.filter, mostChanged)
	}
	size := w.newest
	if size == 0 {
		size = newestEvents
	}
	events, _, err := w.view.Events(ctx, w.filter, gestor.Page{Size: size})
	slices.Reverse(events)
	return events, err
}

// readMeanwhile adds the events that were read since the last call, of the newest there are.
func (w *eventWatch) readMeanwhile(ctx context.Context, changed []gestor.Event, reads gestor.EventReads) ([]gestor.Event, error) {
	newest, _, err := w.view.Events(ctx, w.filter, gestor.Page{Size: mostChanged})
	if err != nil {
		return nil, err
	}
	known := map[gestor.EventID]bool{}
	for _, e := range changed {
		known[e.ID] = true
	}
	for _, e := range newest {
		if reads.Has(e.ID) && !w.reads.Has(e.ID) && !known[e.ID] {
			changed = append(changed, e)
		}
	}
	slices.SortFunc(changed, func(a, b gestor.Event) int { return cmp.Compare(a.ID, b.ID) })
	return changed, nil
}

// send sends what changed, in messages of bounded size.
func (w *eventWatch) send(ctx context.Context, stream *connect.ServerStream[gestorv1.WatchEventsResponse], changed []gestor.Event) error {
	counts, err := w.view.UnreadEvents(ctx, w.reads)
	if err != nil {
		return err
	}
	for {
		part := changed[:min(len(changed), ofEachMessage)]
		changed = changed[len(part):]
		answer := &gestorv1.WatchEventsResponse{Events: eventsOut(part, w.reads), Unread: unreadOut(counts)}
		if len(changed) == 0 {
			answer.Revision = w.revision // only whoever has it all may go on behind it
		}
		if err := stream.Send(answer); err != nil || len(changed) == 0 {
			return err
		}
	}
}
