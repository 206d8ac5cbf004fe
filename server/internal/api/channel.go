package api

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/limit"
	"github.com/saas-gestor/gestor/server/internal/notify"
)

// ChannelTester sends a test message at once. Its error is for people.
type ChannelTester interface {
	Test(ctx context.Context, ch gestor.Channel) error
}

// ChannelDeps are what the channel service needs; all of it.
type ChannelDeps struct {
	Engine Engine
	Sealer Sealer
	Tester ChannelTester
	Mail   func() bool // whether there is a mail server
}

// ChannelService keeps the ways by which events reach people.
type ChannelService struct {
	deps  ChannelDeps
	tests *limit.Rates // by tenant
}

var _ gestorv1connect.ChannelServiceHandler = (*ChannelService)(nil)

// testsPerSecond is how often people of a tenant may have something sent to an address they name, after a few at once.
const (
	testsPerSecond = 0.1
	testsAtOnce    = 10
)

// NewChannelService makes the service.
func NewChannelService(d ChannelDeps) *ChannelService {
	return &ChannelService{deps: d, tests: limit.NewRates(limit.RatesOptions{PerSecond: testsPerSecond, Burst: testsAtOnce})}
}

// ListChannels lists the channels by name.
func (s *ChannelService) ListChannels(ctx context.Context, _ *gestorv1.ListChannelsRequest) (*gestorv1.ListChannelsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	all, err := r.view.Channels(ctx)
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListChannelsResponse{Mail: s.deps.Mail()}
	for _, ch := range all {
		if !r.covers(ch) {
			continue
		}
		one, err := r.channelOut(ctx, ch)
		if err != nil {
			return nil, err
		}
		out.Channels = append(out.Channels, one)
	}
	return out, nil
}

// GetChannel returns one channel.
func (s *ChannelService) GetChannel(ctx context.Context, req *gestorv1.GetChannelRequest) (*gestorv1.GetChannelResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	ch, err := r.channel(ctx, req.GetChannel())
	if err != nil {
		return nil, err
	}
	out, err := r.channelOut(ctx, ch)
	return &gestorv1.GetChannelResponse{Channel: out}, err
}

// channel finds a channel by id or name. One that tells of more than the caller may see is not found.
func (r reach) channel(ctx context.Context, ref string) (gestor.Channel, error) {
	find := r.view.ChannelByName
	if strings.HasPrefix(ref, "chn_") {
		find = func(ctx context.Context, id string) (gestor.Channel, error) {
			return r.view.Channel(ctx, gestor.ChannelID(id))
		}
	}
	ch, err := find(ctx, ref)
	if err == nil && !r.covers(ch) {
		err = fault.KindNotFound
	}
	return ch, absent(err, "channel", ref)
}

// covers reports whether all that a channel tells of is for the caller to see.
func (r reach) covers(ch gestor.Channel) bool {
	for _, n := range r.caller.Scope().Narrow {
		if !n.Covers(ch.Rules.Narrow) {
			return false
		}
	}
	return true
}

// channelOut reads what is shown with a channel.
func (r reach) channelOut(ctx context.Context, ch gestor.Channel) (*gestorv1.Channel, error) {
	out := channelOut(ch)
	queued, err := r.view.DeliveryCounts(ctx, gestor.DeliveryQueued)
	if err != nil {
		return nil, err
	}
	failed, err := r.view.DeliveryCounts(ctx, gestor.DeliveryFailed)
	if err != nil {
		return nil, err
	}
	out.Queued, out.Failed = queued[ch.ID], failed[ch.ID]
	if sent, ok, err := r.view.LastDelivery(ctx, ch.ID, true); err != nil {
		return nil, err
	} else if ok {
		out.SentAt = timeOut(sent.EndedAt)
	}
	last, ok, err := r.view.LastDelivery(ctx, ch.ID, false)
	if ok {
		out.Error = last.Error
	}
	return out, err
}

// CreateChannel makes a channel.
func (s *ChannelService) CreateChannel(ctx context.Context, req *gestorv1.CreateChannelRequest) (*gestorv1.CreateChannelResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	ch := gestor.Channel{ID: gestor.NewID[gestor.ChannelID]("chn"), Kind: channelKindIn(req.GetKind())}
	if err := r.settle(ctx, &ch, req.GetSettings()); err != nil {
		return nil, err
	}
	secret, shown := req.GetSecret(), ""
	if ch.Kind == gestor.ChannelWebhook && secret == "" {
		shown = rand.Text() + rand.Text()
		secret = shown
	}
	if err := s.seal(&ch, secret, true); err != nil {
		return nil, err
	}
	receipt, err := r.propose(ctx, req.GetRequestId(), command.CreateChannel{Channel: ch})
	if err != nil {
		return nil, err
	}
	if receipt.Object != string(ch.ID) {
		shown = "" // an earlier call made it, and showed its key then
	}
	if ch, err = r.channel(ctx, receipt.Object); err != nil {
		return nil, err
	}
	out, err := r.channelOut(ctx, ch)
	return &gestorv1.CreateChannelResponse{Channel: out, SigningKey: shown}, err
}

// settle checks what is chosen of a channel and puts it in.
func (r reach) settle(ctx context.Context, ch *gestor.Channel, in *gestorv1.ChannelSettings) error {
	if err := channelIn(ch, in); err != nil {
		return err
	}
	for i, ref := range in.GetApps() {
		app, err := r.app(ctx, ref)
		if err != nil {
			return err
		}
		ch.Rules.Narrow.Apps[i] = app.ID
	}
	if !r.covers(*ch) {
		return fault.Denied("you see some apps only, and the channel would tell of others").
			WithFix("name apps or environments that are yours")
	}
	if ch.Installation && !r.caller.May(gestorv1.Permission_PERMISSION_SERVER_READ) {
		return fault.Denied("only operators may have a channel tell of the installation")
	}
	return nil
}

// seal checks a secret and puts it in, sealed. fresh says that the channel has none yet.
func (s *ChannelService) seal(ch *gestor.Channel, secret string, fresh bool) error {
	if secret == "" && !fresh {
		return nil
	}
	if err := checkChannelSecret(ch.Kind, secret); err != nil {
		return err
	}
	if secret != "" {
		ch.SecretSealed = s.deps.Sealer.Seal([]byte(secret), gestor.ChannelPlace(ch.ID))
		ch.Target = targetOf(*ch, secret)
	}
	return nil
}

// UpdateChannel replaces what is chosen of a channel.
func (s *ChannelService) UpdateChannel(ctx context.Context, req *gestorv1.UpdateChannelRequest) (*gestorv1.UpdateChannelResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	known, err := r.channel(ctx, req.GetChannel())
	if err != nil {
		return nil, err
	}
	ch := gestor.Channel{ID: known.ID, Kind: known.Kind, Target: known.Target}
	if err := r.settle(ctx, &ch, req.GetSettings()); err != nil {
		return nil, err
	}
	if err := s.seal(&ch, req.GetSecret(), false); err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, req.GetRequestId(), command.UpdateChannel{Channel: ch, ExpectedRevision: req.GetExpectedRevision()}); err != nil {
		return nil, err
	}
	if ch, err = r.channel(ctx, string(ch.ID)); err != nil {
		return nil, err
	}
	out, err := r.channelOut(ctx, ch)
	return &gestorv1.UpdateChannelResponse{Channel: out}, err
}

// DeleteChannel removes a channel.
func (s *ChannelService) DeleteChannel(ctx context.Context, req *gestorv1.DeleteChannelRequest) (*gestorv1.DeleteChannelResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	ch, err := r.channel(ctx, req.GetChannel())
	if err != nil {
		return nil, err
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.DeleteChannel{ID: ch.ID})
	return &gestorv1.DeleteChannelResponse{}, err
}

// TestChannel sends a test message at once, from this server.
func (s *ChannelService) TestChannel(ctx context.Context, req *gestorv1.TestChannelRequest) (*gestorv1.TestChannelResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	ch, err := r.channel(ctx, req.GetChannel())
	if err != nil {
		return nil, err
	}
	if wait := s.tests.Take(string(ch.TenantID)); wait > 0 {
		return nil, fault.Exhausted("channels were tested too often").WithRetryAfter(wait)
	}
	out := &gestorv1.TestChannelResponse{Sent: true}
	if err := s.deps.Tester.Test(ctx, ch); err != nil {
		out.Sent, out.Error = false, notify.Text(err)
	}
	_, err = r.propose(ctx, req.GetRequestId(), command.TestChannel{ID: ch.ID, Error: out.GetError()})
	return out, err
}

// ListDeliveries lists what was sent or is to be sent, newest first.
func (s *ChannelService) ListDeliveries(ctx context.Context, req *gestorv1.ListDeliveriesRequest) (*gestorv1.ListDeliveriesResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	var id gestor.ChannelID
	if req.GetChannel() != "" {
		ch, err := r.channel(ctx, req.GetChannel())
		if err != nil {
			return nil, err
		}
		id = ch.ID
	} else if len(r.caller.Scope().Narrow) > 0 {
		return nil, fault.Invalid("channel", "no channel is named").WithFix("name one of yours")
	}
	found, next, err := r.view.Deliveries(ctx, id, deliveryStateIn(req.GetState()), pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out := &gestorv1.ListDeliveriesResponse{Page: pageOut(next)}
	for _, d := range found {
		if r.hears(d) {
			out.Deliveries = append(out.Deliveries, deliveryOut(d))
		}
	}
	return out, nil
}

// hears reports whether the caller may hear of what a delivery tells: of the installation, operators alone may.
func (r reach) hears(d gestor.Delivery) bool {
	return d.Event.TenantID != "" || r.caller.May(gestorv1.Permission_PERMISSION_SERVER_READ)
}

// RetryDelivery sends a delivery that failed again.
func (s *ChannelService) RetryDelivery(ctx context.Context, req *gestorv1.RetryDeliveryRequest) (*gestorv1.RetryDeliveryResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	d, err := r.delivery(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	if _, err := r.propose(ctx, req.GetRequestId(), command.RetryDelivery{ID: d.ID}); err != nil {
		return nil, err
	}
	d, err = r.delivery(ctx, req.GetId())
	return &gestorv1.RetryDeliveryResponse{Delivery: deliveryOut(d)}, err
}

// delivery finds a delivery of a channel that the caller sees.
func (r reach) delivery(ctx context.Context, id string) (gestor.Delivery, error) {
	d, err := r.view.Delivery(ctx, gestor.DeliveryID(id))
	if err == nil {
		_, err = r.channel(ctx, string(d.ChannelID))
	}
	if err == nil && !r.hears(d) {
		err = fault.KindNotFound
	}
	return d, absent(err, "delivery", id)
}
