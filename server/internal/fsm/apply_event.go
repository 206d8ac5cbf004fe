package fsm

import (
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// levelEvents is the level that brought events.
const levelEvents = 2

// applyEventOp applies the ops on events and channels; it reports whether op is one.
func (c *change) applyEventOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.RecordEvent:
		return true, c.recordEvent(op)
	case command.MarkEventsRead:
		return true, c.markEventsRead(op)
	case command.CreateChannel:
		return true, c.createChannel(op)
	case command.UpdateChannel:
		return true, c.updateChannel(op)
	case command.DeleteChannel:
		return true, c.deleteChannel(op)
	case command.TestChannel:
		return true, c.testChannel(op)
	case command.RecordDelivery:
		return true, c.recordDelivery(op)
	case command.RetryDelivery:
		return true, c.retryDelivery(op)
	}
	return false, nil
}

// event writes an event of what this command does, with the deliveries it makes. A state of the first level knows no
// events: there it does nothing.
func (c *change) event(e gestor.Event) error {
	if !c.AtLeast(levelEvents) {
		return nil
	}
	e = e.Bounded()
	known, again, err := c.EventOfKey(c.ctx, e.TenantID, e.Key, c.at.Add(-gestor.BurstTime))
	if err != nil {
		return err
	}
	e.CreatedAt, e.LastAt, e.Count = c.at, c.at, 1
	if !again {
		if e, err = c.AddEvent(c.ctx, e); err != nil {
			return err
		}
		return c.deliver(e, false)
	}
	e.ID, e.CreatedAt, e.Count = known.ID, known.CreatedAt, known.Count+1
	if err := c.PutEvent(c.ctx, e); err != nil {
		return err
	}
	return c.deliver(e, true)
}

func (c *change) recordEvent(op command.RecordEvent) error {
	e := op.Event
	c.about(e.ObjectID, map[string]any{"kind": e.Kind})
	if err := e.Validate(); err != nil {
		return err
	}
	if e.TenantID != "" {
		if _, err := c.mine().Tenant(c.ctx, e.TenantID); err != nil {
			return err
		}
	}
	return c.event(e)
}

// markEventsRead takes ids as they are: one that is not there marks nothing.
func (c *change) markEventsRead(op command.MarkEventsRead) error {
	u, err := c.mine().User(c.ctx, op.UserID)
	if err != nil {
		return err
	}
	c.about(string(u.ID), nil)
	reads, err := c.EventReads(c.ctx, u.ID)
	if err != nil {
		return err
	}
	reads.UserID, reads.TenantID = u.ID, u.TenantID
	return c.PutEventReads(c.ctx, reads.Add(op.UpTo, op.IDs...))
}
