package clitest

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// events has three events of its own, of which one was read.
type events struct {
	*Server
	mu   *sync.Mutex
	read map[string]bool // guarded by mu
}

func newEvents(s *Server) events {
	return events{Server: s, mu: &sync.Mutex{}, read: map[string]bool{"evt_1": true}}
}

// all are the events, oldest first.
func (h events) all() []*gestorv1.Event {
	at := func(hour int) *timestamppb.Timestamp {
		return timestamppb.New(time.Date(2026, 11, 23, hour, 0, 0, 0, time.UTC))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []*gestorv1.Event{
		{Id: "evt_1", Severity: gestorv1.EventSeverity_EVENT_SEVERITY_INFO, Kind: "node.enrolled", Title: "the node web1 was added", CreatedAt: at(10), LastAt: at(10), Count: 1},
		{Id: "evt_2", Severity: gestorv1.EventSeverity_EVENT_SEVERITY_ERROR, Kind: "node.lost", Title: "the node web1 is lost", CreatedAt: at(15), LastAt: at(16), Count: 3},
		{
			Id: "evt_3", Severity: gestorv1.EventSeverity_EVENT_SEVERITY_CRITICAL, Kind: "server.unreachable", Title: "ctl2 does not\u001b[31m answer",
			CreatedAt: at(19), LastAt: at(19), Count: 1, Installation: true,
		},
	}
	for _, e := range list {
		e.Read = h.read[e.GetId()]
	}
	return list
}

func (h events) passing(f *gestorv1.EventFilter) []*gestorv1.Event {
	return slices.DeleteFunc(h.all(), func(e *gestorv1.Event) bool {
		return e.GetSeverity() < f.GetSeverity() || f.GetUnread() && e.GetRead()
	})
}

// ListEvents lists those that pass, newest first.
func (h events) ListEvents(_ context.Context, r *gestorv1.ListEventsRequest) (*gestorv1.ListEventsResponse, error) {
	list := h.passing(r.GetFilter())
	slices.Reverse(list)
	return &gestorv1.ListEventsResponse{Events: list}, nil
}

// WatchEvents sends each event in a message of its own.
func (h events) WatchEvents(ctx context.Context, r *gestorv1.WatchEventsRequest, out *connect.ServerStream[gestorv1.WatchEventsResponse]) error {
	sent := 0
	for i, e := range h.passing(r.GetFilter()) {
		revision := uint64(i) + 1
		if revision <= r.GetAfterRevision() {
			continue
		}
		if err := out.Send(&gestorv1.WatchEventsResponse{Events: []*gestorv1.Event{e}, Revision: revision}); err != nil {
			return err
		}
		if sent++; h.cut(ctx, "WatchEvents", sent) {
			panic(http.ErrAbortHandler)
		}
	}
	return fault.Denied("this was all")
}

// GetUnread counts nothing.
func (h events) GetUnread(context.Context, *gestorv1.GetUnreadRequest) (*gestorv1.GetUnreadResponse, error) {
	return &gestorv1.GetUnreadResponse{}, nil
}

// MarkRead marks, and counts the rest as information.
func (h events) MarkRead(_ context.Context, r *gestorv1.MarkReadRequest) (*gestorv1.MarkReadResponse, error) {
	h.mu.Lock()
	for _, id := range r.GetIds() {
		h.read[id] = true
	}
	for _, id := range []string{"evt_1", "evt_2", "evt_3"} {
		h.read[id] = h.read[id] || id <= r.GetUpTo()
	}
	h.mu.Unlock()
	unread := int64(len(h.passing(&gestorv1.EventFilter{Unread: true})))
	return &gestorv1.MarkReadResponse{Unread: &gestorv1.UnreadCounts{Info: unread}}, nil
}

// channels keeps channels in memory. One whose name is "dead" fails its test.
type channels struct {
	*Server
	mu  *sync.Mutex
	all map[string]*gestorv1.Channel // guarded by mu, by name
}

func newChannels(s *Server) channels {
	return channels{Server: s, mu: &sync.Mutex{}, all: map[string]*gestorv1.Channel{}}
}

func (h channels) find(ref string) (*gestorv1.Channel, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ch := range h.all {
		if ch.GetId() == ref || ch.GetSettings().GetName() == ref {
			return ch, nil
		}
	}
	return nil, fault.NotFound("there is no channel %q", ref)
}

// ListChannels lists them by name.
func (h channels) ListChannels(context.Context, *gestorv1.ListChannelsRequest) (*gestorv1.ListChannelsResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	res := &gestorv1.ListChannelsResponse{}
	for _, ch := range h.all {
		res.Channels = append(res.Channels, ch)
	}
	slices.SortFunc(res.Channels, func(a, b *gestorv1.Channel) int {
		if a.GetSettings().GetName() < b.GetSettings().GetName() {
			return -1
		}
		return 1
	})
	return res, nil
}

// GetChannel finds one.
func (h channels) GetChannel(_ context.Context, r *gestorv1.GetChannelRequest) (*gestorv1.GetChannelResponse, error) {
	ch, err := h.find(r.GetChannel())
	return &gestorv1.GetChannelResponse{Channel: ch}, err
}

// CreateChannel keeps it, and chooses a key for webhooks.
func (h channels) CreateChannel(_ context.Context, r *gestorv1.CreateChannelRequest) (*gestorv1.CreateChannelResponse, error) {
	name := r.GetSettings().GetName()
	ch := &gestorv1.Channel{Id: "chn_" + name, Kind: r.GetKind(), Settings: r.GetSettings(), Target: r.GetSettings().GetAddress(), Revision: 1}
	res := &gestorv1.CreateChannelResponse{Channel: ch}
	if r.GetKind() == gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK && r.GetSecret() == "" {
		res.SigningKey = "KEY"
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[name] = ch
	return res, nil
}

// UpdateChannel replaces its settings.
func (h channels) UpdateChannel(_ context.Context, r *gestorv1.UpdateChannelRequest) (*gestorv1.UpdateChannelResponse, error) {
	ch, err := h.find(r.GetChannel())
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	ch.Settings = r.GetSettings()
	ch.Revision++
	return &gestorv1.UpdateChannelResponse{Channel: ch}, nil
}

// DeleteChannel forgets it.
func (h channels) DeleteChannel(_ context.Context, r *gestorv1.DeleteChannelRequest) (*gestorv1.DeleteChannelResponse, error) {
	ch, err := h.find(r.GetChannel())
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, ch.GetSettings().GetName())
	return &gestorv1.DeleteChannelResponse{}, err
}

// TestChannel fails for "dead".
func (h channels) TestChannel(_ context.Context, r *gestorv1.TestChannelRequest) (*gestorv1.TestChannelResponse, error) {
	if r.GetChannel() == "dead" {
		return &gestorv1.TestChannelResponse{Error: "hooks.example.com answered with status 500"}, nil
	}
	return &gestorv1.TestChannelResponse{Sent: true}, nil
}

func delivery() *gestorv1.Delivery {
	return &gestorv1.Delivery{
		Id: "dlv_1", ChannelId: "chn_chat", Event: &gestorv1.Event{Title: "the node web1 is lost"}, More: 12, State: gestorv1.DeliveryState_DELIVERY_STATE_FAILED,
		Attempts: 9, Error: "hooks.example.com answered with status 500", CreatedAt: timestamppb.New(time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)),
	}
}

// ListDeliveries lists one that failed.
func (h channels) ListDeliveries(context.Context, *gestorv1.ListDeliveriesRequest) (*gestorv1.ListDeliveriesResponse, error) {
	return &gestorv1.ListDeliveriesResponse{Deliveries: []*gestorv1.Delivery{delivery()}}, nil
}

// RetryDelivery answers with it.
func (h channels) RetryDelivery(context.Context, *gestorv1.RetryDeliveryRequest) (*gestorv1.RetryDeliveryResponse, error) {
	return &gestorv1.RetryDeliveryResponse{Delivery: delivery()}, nil
}
