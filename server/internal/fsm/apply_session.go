package fsm

import (
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
)

func (c *change) createSession(op command.CreateSession) error {
	c.about(string(op.Session.ID), nil)
	user, err := c.mine().User(c.ctx, op.Session.UserID)
	if err != nil {
		return err
	}
	if user.Status != "active" {
		return fault.Denied("the account %s is %s", user.Email, user.Status).WithFix("ask an admin of your tenant")
	}
	c.tenant = user.TenantID
	s := op.Session
	s.TenantID, s.CreatedAt = user.TenantID, c.at
	s.FreshAt, s.SeenAt = c.at, c.at
	s.Address, s.UserAgent = c.actor.Address, c.actor.UserAgent
	c.is(s)
	return c.PutSession(c.ctx, s)
}

func (c *change) deleteSession(op command.DeleteSession) error {
	c.about(string(op.ID), nil)
	s, err := c.mine().Session(c.ctx, op.ID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	c.was(s)
	return c.DeleteSession(c.ctx, op.ID)
}
