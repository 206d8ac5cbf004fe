package fsm

import (
	"cmp"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// applyTokenOp applies the ops on tokens; it reports whether op is one.
func (c *change) applyTokenOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.CreateToken:
		return true, c.createToken(op)
	case command.DeleteToken:
		return true, c.deleteToken(op)
	}
	return false, nil
}

// createToken makes a token for the person who asks, or for their tenant. Only a person makes one: a token that makes
// tokens would outlive being taken back.
func (c *change) createToken(op command.CreateToken) error {
	t := op.Token
	c.about(string(t.ID), map[string]any{"name": t.Name, "kind": string(t.Kind)})
	if c.actor.Kind != "user" {
		return fault.Denied("only a signed-in person makes tokens")
	}
	maker, err := c.mine().User(c.ctx, gestor.UserID(c.actor.ID))
	if err != nil {
		return err
	}
	t.TenantID, t.UserID, t.CreatedAt = maker.TenantID, maker.ID, c.at
	if err := c.provedEnough(maker); err != nil {
		return err
	}
	if err := c.mayMake(t, maker); err != nil {
		return err
	}
	there := fault.Exists("the token %s is there already", t.ID)
	if err := cmp.Or(unless(second(c.Token(c.ctx, t.ID)), there), unless(second(c.TokenByHash(c.ctx, t.Hash)), there)); err != nil {
		return err
	}
	all, err := c.tokensBeside(t)
	if err != nil {
		return err
	}
	if len(all) >= gestor.MostTokens {
		return fault.Exhausted("there are %d tokens already, as many as there may be", len(all)).WithFix("take back those that nobody uses")
	}
	for _, other := range all {
		if other.Name == t.Name {
			return fault.Exists("there is a token named %s already", t.Name).WithFix("choose another name, or take that one back first")
		}
	}
	c.is(t)
	c.notable()
	return c.PutToken(c.ctx, t)
}

// provedEnough refuses who has to set up a second factor first: a token needs none, and would be the way around it.
func (c *change) provedEnough(maker gestor.User) error {
	tenant, err := c.In(gestor.SystemScope()).Tenant(c.ctx, maker.TenantID)
	if err != nil || !tenant.SecondFactor || maker.HasFactor {
		return err
	}
	s, err := c.mine().Session(c.ctx, c.actor.SessionID)
	if none, err := absent(err); err != nil || !none && s.SecondFactor {
		return err
	}
	return fault.Denied("%s wants everybody to have a second factor, and you have none", tenant.Name).
		WithFix("set one up with `gestor account totp`, then sign in again").WithReason(fault.ReasonSecondFactor)
}

// mayMake refuses a token that could do more than its maker.
func (c *change) mayMake(t gestor.Token, maker gestor.User) error {
	if t.Kind == gestor.TokenPersonal {
		return nil // it has the rights of its user, whatever it says
	}
	if maker.Role != gestor.RoleAdmin {
		return fault.Denied("only an admin makes service tokens")
	}
	if !maker.Narrow.Covers(t.Narrow) {
		return fault.Denied("the token would see apps that you do not").WithFix("name apps and environments that are yours")
	}
	return nil
}

// tokensBeside are the tokens among which t needs a name of its own: its user's, or the tenant's.
func (c *change) tokensBeside(t gestor.Token) ([]gestor.Token, error) {
	if t.Kind == gestor.TokenPersonal {
		return c.In(gestor.TenantScope(t.TenantID)).TokensByUser(c.ctx, t.UserID)
	}
	return c.In(gestor.TenantScope(t.TenantID)).ServiceTokens(c.ctx)
}

func (c *change) deleteToken(op command.DeleteToken) error {
	c.about(string(op.ID), nil)
	t, err := c.mine().Token(c.ctx, op.ID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	c.was(t)
	if err := c.overToken(t); err != nil {
		return err
	}
	return errors.Join(c.DeleteInvitationsBy(c.ctx, string(t.ID)), c.DeleteToken(c.ctx, t.ID)) // who was invited with it is not let in either
}

// overToken refuses who has less than a token, or than the person it belongs to.
func (c *change) overToken(t gestor.Token) error {
	own := t.Kind == gestor.TokenPersonal && c.actor.ID == string(t.UserID)
	if own {
		return nil
	}
	owner := gestor.User{Email: t.Name, Role: t.Role, Narrow: t.Narrow}
	if t.Kind == gestor.TokenPersonal {
		var err error
		if owner, err = c.mine().User(c.ctx, t.UserID); err != nil {
			return err
		}
	}
	return c.over(owner)
}
