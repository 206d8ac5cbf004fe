package fsm

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// applyServerOp applies the ops on control servers; it reports whether op is one.
func (c *change) applyServerOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.CreateServerToken:
		return true, c.createServerToken(op)
	case command.EnrollServer:
		return true, c.enrollServer(op)
	case command.PutServer:
		return true, c.putServer(op)
	case command.DeleteServer:
		return true, c.deleteServer(op)
	}
	return false, nil
}

func (c *change) createServerToken(op command.CreateServerToken) error {
	t := op.Token
	c.about(t.ID, map[string]any{"server": t.Name, "replaces": t.Replaces})
	if t.Name != "" {
		taken := fault.Exists("there is a server named %s already", t.Name).WithFix("choose another name; the old one keeps its own until it has left")
		if err := unless(second(c.ServerByName(c.ctx, t.Name)), taken); err != nil {
			return err
		}
	}
	if t.Replaces != "" {
		if _, err := c.Server(c.ctx, t.Replaces); err != nil {
			return err
		}
	}
	if err := unless(second(c.ServerToken(c.ctx, t.ID)), fault.Exists("the server token %s exists already", t.ID)); err != nil {
		return err
	}
	t.CreatedBy, t.AuditIn, t.UsedBy = c.actor.Name, c.actor.TenantID, ""
	c.is(t)
	return c.PutServerToken(c.ctx, t)
}

// badServerToken is one message for a token that does not exist and for a wrong secret, so that it tells nothing.
func badServerToken() error {
	return fault.Unauthenticated("the server token is not valid").WithFix("make a new one: gestor servers add")
}

func (c *change) enrollServer(op command.EnrollServer) error {
	t, err := c.ServerToken(c.ctx, op.TokenID)
	if none, err := absent(err); none {
		return badServerToken()
	} else if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(t.SecretHash, op.SecretHash) != 1 {
		return badServerToken()
	}
	c.tenant = t.AuditIn
	c.about(string(op.Server.ID), map[string]any{"server": op.Server.Name, "address": op.Server.PeerAddress})
	if !c.at.Before(t.ExpiresAt) {
		return fault.Unauthenticated("the server token has expired").WithFix("make a new one: gestor servers add")
	}
	if op.Server.ID == "" {
		return fault.Invalid("server_id", "a server needs an id")
	}
	if err := c.checkNewcomer(op.Server); err != nil {
		return err
	}
	if t.UsedBy != "" {
		return c.enrollServerAgain(t, op)
	}
	taken := fault.Exists("the server %s has joined already, with another token", op.Server.ID).
		WithFix("start it without --join, or remove it first: gestor servers remove %s", op.Server.ID)
	if err := unless(second(c.Server(c.ctx, op.Server.ID)), taken); err != nil {
		return err
	}
	return c.admit(t, op.Server)
}

// admit writes the server that uses a token for the first time.
func (c *change) admit(t gestor.ServerToken, s gestor.Server) error {
	// The members follow the table: were a newcomer the first in it, the founder would be taken for one that was removed.
	all, err := c.Servers(c.ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fault.Unavailable("the first server has not said yet who it is").WithRetryAfter(time.Second).WithFix("try again in a moment")
	}
	if err := c.checkPeerAddress(s, t.Replaces); err != nil {
		return err
	}
	wanted := t.Name
	if wanted == "" {
		wanted = s.Name
	}
	name, err := c.freeServerName(wanted)
	if err != nil {
		return err
	}
	s.Name, s.Replaces, s.CreatedAt = name, t.Replaces, c.at
	t.UsedBy = s.ID
	c.is(s)
	return errors.Join(c.PutServerToken(c.ctx, t), c.PutServer(c.ctx, s), c.serverCame(s))
}

// answerLost is how long a server may ask again for an answer that was lost. It is short because who asks proves no more
// than the token, which is worth nothing once it has been used, and the server's id, which its certificate shows to everybody.
const answerLost = 2 * time.Minute

// enrollServerAgain lets the server in whose first answer was lost. What it says of itself now counts, but for its name.
func (c *change) enrollServerAgain(t gestor.ServerToken, op command.EnrollServer) error {
	if t.UsedBy != op.Server.ID {
		return fault.Conflict("the server token has been used by another host").
			WithFix("make a new one; if you used it only once, somebody else has: remove the server %s", t.UsedBy)
	}
	known, err := c.Server(c.ctx, op.Server.ID)
	if none, err := absent(err); none {
		return fault.Conflict("the server %s was removed", op.Server.ID).WithFix("make a new token: gestor servers add")
	} else if err != nil {
		return err
	}
	if c.at.Sub(known.CreatedAt) > answerLost {
		return fault.Conflict("the server %s has joined already with this token", known.Name).
			WithFix("start it without --join; if it was never told who it is: gestor servers remove %s, then make a new token", known.Name)
	}
	op.Server.Name = known.Name
	return c.updateServer(known, op.Server)
}

// checkPeerAddress refuses the address of another server, but for one that is replaced: no two can be reached at it.
func (c *change) checkPeerAddress(s gestor.Server, replaces gestor.ServerID) error {
	all, err := c.Servers(c.ctx)
	if err != nil {
		return err
	}
	for _, other := range all {
		if other.PeerAddress == s.PeerAddress && other.ID != s.ID && other.ID != replaces {
			return fault.Exists("%s is the peer address of server %s", s.PeerAddress, other.Name).
				WithFix("give this one another, or, if it stands in place of that one, remove that first: gestor servers remove %s", other.Name)
		}
	}
	return nil
}

// freeServerName is wanted, or wanted with the first number that makes it unique: many hosts are called "debian".
func (c *change) freeServerName(wanted string) (string, error) {
	name := wanted
	for n := 2; ; n++ {
		free, err := absent(second(c.ServerByName(c.ctx, name)))
		if err != nil || free {
			return name, err
		}
		suffix := fmt.Sprint("-", n)
		name = wanted[:min(len(wanted), 63-len(suffix))] + suffix
	}
}

func (c *change) putServer(op command.PutServer) error {
	s := op.Server
	c.about(string(s.ID), map[string]any{"server": s.Name, "version": s.Version})
	if s.ID == "" {
		return fault.Invalid("server.id", "a server needs an id")
	}
	known, err := c.Server(c.ctx, s.ID)
	if none, err := absent(err); none {
		return c.putFirstServer(s)
	} else if err != nil {
		return err
	}
	if s.Name == "" {
		s.Name = known.Name
	}
	return c.updateServer(known, s)
}

func (c *change) putFirstServer(s gestor.Server) error {
	all, err := c.Servers(c.ctx)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		return fault.NotFound("there is no server %s: it was removed, or never joined", s.ID)
	}
	s.Replaces, s.CreatedAt = "", c.at
	return c.PutServer(c.ctx, s)
}

// updateServer writes what a known server says of itself, if that is anything new.
func (c *change) updateServer(known, s gestor.Server) error {
	if s.Same(known) {
		return nil
	}
	if s.PeerAddress != known.PeerAddress {
		if err := c.checkPeerAddress(s, known.Replaces); err != nil {
			return err
		}
	}
	if s.Name != known.Name {
		taken := fault.Exists("there is another server named %s", s.Name).WithFix("give this one another name")
		if err := unless(second(c.ServerByName(c.ctx, s.Name)), taken); err != nil {
			return err
		}
	}
	s.Replaces, s.CreatedAt = known.Replaces, known.CreatedAt
	c.was(known)
	c.is(s)
	return c.PutServer(c.ctx, s)
}

// deleteServer forgets a server; one that is gone already is fine.
func (c *change) deleteServer(op command.DeleteServer) error {
	s, err := c.Server(c.ctx, op.ID)
	c.about(string(op.ID), map[string]any{"server": s.Name})
	if op.ID == "" {
		return fault.NotFound("there is no server without an id")
	}
	if none, err := absent(err); none || err != nil {
		return err
	}
	all, err := c.Servers(c.ctx)
	if err != nil {
		return err
	}
	if len(all) == 1 {
		return fault.Conflict("%s is the only server", s.Name).WithFix("add another one first: gestor servers add")
	}
	c.was(s)
	return errors.Join(c.DeleteServer(c.ctx, op.ID), c.serverWent(s))
}
