package fsm

import (
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// deliver queues an event in every channel that takes it. again says that it adds to an event that was there.
func (c *change) deliver(e gestor.Event, again bool) error {
	channels, err := c.ChannelsFor(c.ctx, e.TenantID)
	if err != nil || len(channels) == 0 {
		return err
	}
	environment, err := c.environmentOf(e.AppID)
	if err != nil {
		return err
	}
	for _, ch := range channels {
		if !ch.Takes(e, environment) || again && ch.Rules.Repeat == 0 {
			continue
		}
		if err := c.queue(ch, e); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) environmentOf(app gestor.AppID) (string, error) {
	if app == "" {
		return "", nil
	}
	a, err := c.App(c.ctx, app)
	if none, err := absent(err); none || err != nil {
		return "", err
	}
	return a.Settings.Environment, nil
}

// queue makes a delivery, unless the channel told of the same key a short time ago: then one more message tells how often
// it happened, when the time is over. A channel in which too much waits counts the rest only.
func (c *change) queue(ch gestor.Channel, e gestor.Event) error {
	due := c.at
	last, told, err := c.DeliveryOfKey(c.ctx, ch.ID, e.Key)
	if err != nil {
		return err
	}
	if told && last.DueAt.Add(ch.Rules.Repeat).After(c.at) {
		if last.State == gestor.DeliveryQueued {
			return c.addTo(last, e)
		}
		due = last.DueAt.Add(ch.Rules.Repeat)
	}
	waiting, err := c.WaitingDeliveries(c.ctx, ch.ID)
	if err != nil {
		return err
	}
	if waiting >= gestor.MostWaiting {
		newest, _, err := c.LastWaiting(c.ctx, ch.ID)
		if err != nil {
			return err
		}
		newest.More++
		return c.PutDelivery(c.ctx, newest)
	}
	return c.AddDelivery(c.ctx, gestor.Delivery{
		TenantID: ch.TenantID, ChannelID: ch.ID, Event: e, State: gestor.DeliveryQueued, CreatedAt: c.at, DueAt: due, NextAt: due,
	})
}

// addTo has a delivery that waits tell of one more event, the newest.
func (c *change) addTo(d gestor.Delivery, e gestor.Event) error {
	d.Event = e
	d.More++
	return c.PutDelivery(c.ctx, d)
}

func (c *change) createChannel(op command.CreateChannel) error {
	ch := op.Channel
	c.about(string(ch.ID), channelDetail(ch))
	if ch.ID == "" {
		return fault.Invalid("id", "a channel needs an id")
	}
	if err := unless(second(c.Channel(c.ctx, ch.ID)), fault.Exists("the channel %s exists already", ch.ID)); err != nil {
		return err
	}
	if _, err := c.mine().Tenant(c.ctx, c.actor.TenantID); err != nil {
		return err
	}
	ch.TenantID, ch.CreatedBy, ch.CreatedAt = c.actor.TenantID, c.actor.Name, c.at
	if err := c.checkChannel(ch); err != nil {
		return err
	}
	return c.PutChannel(c.ctx, ch)
}

// channelDetail is what the audit log says of a channel: never its secret.
func channelDetail(ch gestor.Channel) map[string]any {
	return map[string]any{
		"channel": ch.Name, "kind": ch.Kind, "target": ch.Target, "disabled": ch.Disabled, "installation": ch.Installation,
	}
}

// mostChannels bounds the channels of a tenant, each of which costs something with every event.
const mostChannels = 50

func (c *change) checkChannel(ch gestor.Channel) error {
	all, err := c.ChannelsFor(c.ctx, ch.TenantID)
	if err != nil {
		return err
	}
	known := false
	for _, other := range all {
		known = known || other.ID == ch.ID
		if other.Name == ch.Name && other.ID != ch.ID {
			return fault.Exists("there is a channel named %s already", ch.Name).WithFix("choose another name")
		}
	}
	if !known && len(all) >= mostChannels {
		return fault.Exhausted("a tenant has at most %d channels", mostChannels).WithFix("remove one that nobody needs")
	}
	if !ch.Installation {
		return nil
	}
	return c.actorIsOperator()
}

// actorIsOperator refuses to give those the events of the installation who do not see them.
func (c *change) actorIsOperator() error {
	denied := fault.Denied("only operators may have a channel tell of the installation")
	u, err := c.mine().User(c.ctx, gestor.UserID(c.actor.ID))
	if none, err := absent(err); none {
		return denied
	} else if err != nil {
		return err
	}
	if !u.Operator {
		return denied
	}
	return nil
}

func (c *change) updateChannel(op command.UpdateChannel) error {
	known, err := c.mine().Channel(c.ctx, op.Channel.ID)
	if err != nil {
		return err
	}
	ch := op.Channel
	c.about(string(ch.ID), channelDetail(ch))
	if op.ExpectedRevision != 0 && op.ExpectedRevision != known.Revision {
		return fault.Conflict("the channel %s was changed by somebody else meanwhile", known.Name).WithFix("look at it again, then change it")
	}
	if known.Installation {
		if err := c.actorIsOperator(); err != nil {
			return err
		}
	}
	ch.Kind, ch.TenantID, ch.CreatedBy, ch.CreatedAt = known.Kind, known.TenantID, known.CreatedBy, known.CreatedAt
	if len(ch.SecretSealed) == 0 {
		ch.SecretSealed = known.SecretSealed
	}
	if err := c.checkChannel(ch); err != nil {
		return err
	}
	return c.PutChannel(c.ctx, ch)
}

func (c *change) deleteChannel(op command.DeleteChannel) error {
	ch, err := c.mine().Channel(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(ch.ID), channelDetail(ch))
	if ch.Installation {
		if err := c.actorIsOperator(); err != nil {
			return err
		}
	}
	return c.DeleteChannel(c.ctx, ch.ID)
}

func (c *change) testChannel(op command.TestChannel) error {
	ch, err := c.mine().Channel(c.ctx, op.ID)
	if err != nil {
		return err
	}
	detail := channelDetail(ch)
	if op.Error != "" {
		detail["error"] = op.Error
	}
	c.about(string(ch.ID), detail)
	return nil
}

// recordDelivery writes what came of an attempt. A leader that was replaced meanwhile comes with another number of
// attempts and is refused.
func (c *change) recordDelivery(op command.RecordDelivery) error {
	d, err := c.mine().Delivery(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), map[string]any{"state": op.State})
	if d.State != gestor.DeliveryQueued || d.Attempts != op.Attempts {
		return fault.Conflict("delivery %s is %s after %d attempts, not queued after %d", d.ID, d.State, d.Attempts, op.Attempts)
	}
	if op.State == "" {
		return fault.Invalid("state", "a delivery has a state")
	}
	d.State, d.Error, d.NextAt = op.State, op.Error, op.NextAt
	if op.Held {
		d.DueAt = op.NextAt
	} else if op.State != gestor.DeliveryDropped {
		d.Attempts++
	}
	if op.State != gestor.DeliveryQueued {
		d.NextAt, d.EndedAt = time.Time{}, c.at
	}
	if err := c.PutDelivery(c.ctx, d); err != nil || op.State != gestor.DeliveryFailed {
		return err
	}
	return c.channelFails(d)
}

// channelFails tells people, by other ways, that a channel lost a message.
func (c *change) channelFails(d gestor.Delivery) error {
	ch, err := c.Channel(c.ctx, d.ChannelID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	return c.event(gestor.Event{
		TenantID: ch.TenantID, Severity: gestor.SeverityWarning, Kind: gestor.EventChannelFailing, ObjectKind: "channel", ObjectID: string(ch.ID),
		Title: "notifications by the channel " + ch.Name + " do not arrive: " + d.Error,
		Data:  map[string]string{"channel": ch.Name, "kind": string(ch.Kind), "error": d.Error}, Key: gestor.EventChannelFailing + "/" + string(ch.ID),
	})
}

func (c *change) retryDelivery(op command.RetryDelivery) error {
	d, err := c.mine().Delivery(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.about(string(d.ID), nil)
	if d.State != gestor.DeliveryFailed && d.State != gestor.DeliveryDropped {
		return fault.Conflict("delivery %s is %s; only those that failed or were dropped can be sent again", d.ID, d.State)
	}
	d.State, d.Attempts, d.DueAt, d.NextAt, d.EndedAt = gestor.DeliveryQueued, 0, c.at, c.at, time.Time{}
	return c.PutDelivery(c.ctx, d)
}
