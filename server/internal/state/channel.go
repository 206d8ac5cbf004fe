package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var channels = newTableOf(levelPeople, Channels, "channels", []string{"id"}, func(c *gestor.Channel) []column {
	return []column{
		{"id", &c.ID},
		{"tenant_id", &c.TenantID},
		{"kind", &c.Kind},
		{"name", &c.Name},
		{"address", &c.Address},
		{"target", &c.Target},
		{"secret_sealed", &c.SecretSealed},
		{"rules_json", &c.Rules},
		{"disabled", &c.Disabled},
		{"installation", &c.Installation},
		{"created_by", &c.CreatedBy},
		{"created_at", &c.CreatedAt},
		{"revision", &c.Revision},
	}
})

// Channels are the channels, by name.
func (v *View) Channels(ctx context.Context) ([]gestor.Channel, error) {
	return many(ctx, v, channels, " ORDER BY name, id")
}

// Channel is a channel.
func (v *View) Channel(ctx context.Context, id gestor.ChannelID) (gestor.Channel, error) {
	return one(ctx, v, channels, "channel", " AND id = ?", string(id))
}

// ChannelByName is the channel with a name.
func (v *View) ChannelByName(ctx context.Context, name string) (gestor.Channel, error) {
	return one(ctx, v, channels, "channel", " AND name = ?", name)
}

// ChannelsFor are the channels of a tenant, or those that tell of the installation if it is empty, by id.
func (x *Txn) ChannelsFor(ctx context.Context, tenant gestor.TenantID) ([]gestor.Channel, error) {
	if tenant == "" {
		return channels.find(ctx, x, "WHERE installation = 1 ORDER BY id")
	}
	return channels.find(ctx, x, "WHERE tenant_id = ? ORDER BY id", string(tenant))
}

// PutChannel writes a channel.
func (x *Txn) PutChannel(ctx context.Context, c gestor.Channel) error {
	c.Revision = x.Revision
	return channels.save(ctx, x, &c)
}

// DeleteChannel removes a channel and all its deliveries.
func (x *Txn) DeleteChannel(ctx context.Context, id gestor.ChannelID) error {
	x.touch(Channels | Deliveries)
	return errors.Join(
		x.exec(ctx, "DELETE FROM channels WHERE id = ?", string(id)),
		x.exec(ctx, "DELETE FROM deliveries WHERE channel_id = ?", string(id)),
	)
}

var deliveries = newTableOf(levelPeople, Deliveries, "deliveries", []string{"id"}, func(d *gestor.Delivery) []column {
	return []column{
		{"id", &d.ID},
		{"tenant_id", &d.TenantID},
		{"channel_id", &d.ChannelID},
		{"app_id", &d.Event.AppID}, // of the event, like the key: for bounds and index
		{"key", &d.Event.Key},
		{"event_json", &d.Event},
		{"more", &d.More},
		{"state", &d.State},
		{"attempts", &d.Attempts},
		{"error", &d.Error},
		{"created_at", &d.CreatedAt},
		{"due_at", &d.DueAt},
		{"next_at", &d.NextAt},
		{"ended_at", &d.EndedAt},
		{"revision", &d.Revision},
	}
}).within(bounds{app: "app_id"})

var deliveriesByAge = order[gestor.Delivery]{by: "id", desc: true, key: func(d gestor.Delivery) cursor {
	return cursor{Text: string(d.ID), ID: string(d.ID)}
}}

// Delivery is a delivery.
func (v *View) Delivery(ctx context.Context, id gestor.DeliveryID) (gestor.Delivery, error) {
	return one(ctx, v, deliveries, "delivery", " AND id = ?", string(id))
}

// Deliveries are the deliveries of a channel, or of all if it is empty, in a state, or in any if it is empty; the newest first.
func (v *View) Deliveries(ctx context.Context, channel gestor.ChannelID, state gestor.DeliveryState, page gestor.Page) ([]gestor.Delivery, string, error) {
	rest, args := "", []any{}
	if channel != "" {
		rest, args = " AND channel_id = ?", append(args, string(channel))
	}
	if state != "" {
		rest, args = rest+" AND state = ?", append(args, string(state))
	}
	return list(ctx, v, deliveries, deliveriesByAge, page, rest, args...)
}

// DueDeliveries are deliveries that wait, at most a number of each channel, those that are due first first.
func (v *View) DueDeliveries(ctx context.Context, ofEach int) ([]gestor.Delivery, error) {
	return many(ctx, v, deliveries, firstDue, ofEach)
}

// firstDue finds a few deliveries of each channel by the index, however many more of them wait.
const firstDue = ` AND id IN (
  SELECT q.id
  FROM channels AS c CROSS JOIN deliveries AS q
  WHERE q.id IN (
    SELECT id
    FROM deliveries
    WHERE channel_id = c.id AND state = 'queued'
    ORDER BY next_at, id
    LIMIT ?))
ORDER BY next_at, id`

// DeliveryCounts is how many deliveries of each channel are in a state.
func (v *View) DeliveryCounts(ctx context.Context, state gestor.DeliveryState) (map[gestor.ChannelID]int64, error) {
	if v.from.level() < levelPeople {
		return nil, nil
	}
	where, args := v.where(deliveries.bounds, string(state))
	rows, err := v.from.query(ctx, "SELECT channel_id, COUNT(*)\nFROM deliveries\n"+where+" AND state = ?\nGROUP BY channel_id", args...)
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	defer rows.Close()
	out := map[gestor.ChannelID]int64{}
	for rows.Next() {
		var id gestor.ChannelID
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			return nil, fmt.Errorf("count deliveries: %w", err)
		}
		out[id] = n
	}
	return out, rows.Err()
}

// LastDelivery is the newest delivery of a channel that has been tried; false if there is none.
func (v *View) LastDelivery(ctx context.Context, channel gestor.ChannelID, sent bool) (gestor.Delivery, bool, error) {
	rest := " AND channel_id = ? AND attempts > 0 ORDER BY id DESC LIMIT 1"
	if sent {
		rest = " AND channel_id = ? AND state = 'sent' ORDER BY id DESC LIMIT 1"
	}
	found, err := many(ctx, v, deliveries, rest, string(channel))
	if err != nil || len(found) == 0 {
		return gestor.Delivery{}, false, err
	}
	return found[0], true, nil
}

// DeliveryOfKey is the newest delivery of a channel about a key; false if there is none.
func (x *Txn) DeliveryOfKey(ctx context.Context, channel gestor.ChannelID, key string) (gestor.Delivery, bool, error) {
	return x.newestDelivery(ctx, "WHERE channel_id = ? AND key = ? AND key <> '' ORDER BY id DESC LIMIT 1", string(channel), key)
}

// WaitingDeliveries is how many deliveries of a channel wait.
func (x *Txn) WaitingDeliveries(ctx context.Context, channel gestor.ChannelID) (int64, error) {
	return x.number(ctx, "SELECT COUNT(*) FROM deliveries WHERE channel_id = ? AND state = 'queued'", string(channel))
}

// LastWaiting is the newest delivery of a channel that waits.
func (x *Txn) LastWaiting(ctx context.Context, channel gestor.ChannelID) (gestor.Delivery, bool, error) {
	return x.newestDelivery(ctx, "WHERE channel_id = ? AND state = 'queued' ORDER BY id DESC LIMIT 1", string(channel))
}

func (x *Txn) newestDelivery(ctx context.Context, rest string, args ...any) (gestor.Delivery, bool, error) {
	found, err := deliveries.find(ctx, x, rest, args...)
	if err != nil || len(found) == 0 {
		return gestor.Delivery{}, false, err
	}
	return found[0], true, nil
}

// AddDelivery writes a new delivery and gives it its id.
func (x *Txn) AddDelivery(ctx context.Context, d gestor.Delivery) error {
	n, err := x.nextOf(ctx, "SELECT MAX(id) FROM deliveries WHERE id >= ?", string(gestor.NewDeliveryID(x.Revision, 0)))
	if err != nil {
		return err
	}
	d.ID = gestor.NewDeliveryID(x.Revision, n)
	return x.PutDelivery(ctx, d)
}

// PutDelivery writes a delivery that is known.
func (x *Txn) PutDelivery(ctx context.Context, d gestor.Delivery) error {
	d.Revision = x.Revision
	return deliveries.save(ctx, x, &d)
}

const pruneDeliveries = `
DELETE FROM deliveries
WHERE (state <> 'queued' AND ended_at < ?) OR channel_id NOT IN (SELECT id FROM channels)`

// PruneDeliveries removes deliveries that ended before a time, and those of channels and tenants that are gone.
func (x *Txn) PruneDeliveries(ctx context.Context, before time.Time) error {
	x.touch(Channels | Deliveries)
	return errors.Join(
		x.exec(ctx, "DELETE FROM channels WHERE tenant_id NOT IN (SELECT id FROM tenants)"),
		x.exec(ctx, pruneDeliveries, nanos(before)),
	)
}
