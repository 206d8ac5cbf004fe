package fsm

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func (c *change) createSession(op command.CreateSession) error {
	c.about(string(op.Session.ID), nil)
	user, err := c.mine().User(c.ctx, op.Session.UserID)
	if err != nil {
		return err
	}
	if err := c.mayOpen(user, op.Stamp); err != nil {
		return err
	}
	if c.atLeast(2) && user.HasFactor && !op.Session.SecondFactor {
		return fault.Unauthenticated("the account %s has a second factor", user.Email).WithFix("sign in again, with it")
	}
	return c.openSession(user, op.Session, op.Network)
}

// signIn opens a session for who has shown a second factor besides a password, or a passkey that is both.
func (c *change) signIn(op command.SignIn) error {
	c.about(string(op.Session.ID), nil)
	user, err := c.mine().User(c.ctx, op.Session.UserID)
	if err != nil {
		return err
	}
	if err := c.mayOpen(user, op.Stamp); err != nil {
		return err
	}
	if err := c.use(user, op.Use, len(op.Stamp) == 0); err != nil {
		return err
	}
	op.Session.SecondFactor = true
	return c.openSession(user, op.Session, op.Network)
}

// mayOpen refuses who may not sign in, and who has other credentials than those that were checked.
func (c *change) mayOpen(user gestor.User, stamp []byte) error {
	if user.Status != gestor.StatusActive {
		return fault.Denied("the account %s is %s", user.Email, user.Status).WithFix("ask an admin of your tenant")
	}
	if !c.atLeast(2) {
		return nil
	}
	if len(stamp) > 0 && subtle.ConstantTimeCompare(stamp, user.Stamp()) != 1 {
		return fault.Unauthenticated("the password was changed meanwhile").WithFix("sign in again")
	}
	tenant, err := c.In(gestor.SystemScope()).Tenant(c.ctx, user.TenantID)
	if err == nil && tenant.Status == gestor.StatusTrash {
		err = fault.Denied("the tenant %s is closed", tenant.Name).WithFix("ask the operator of this installation")
	}
	return err
}

func (c *change) openSession(user gestor.User, s gestor.Session, network string) error {
	c.tenant = user.TenantID
	if c.atLeast(2) { // the hash may be of a terminal's choosing, and is unique in the table
		taken := fault.Exists("this sign-in was approved already")
		if err := cmp.Or(unless(second(c.SessionByTokenHash(c.ctx, s.TokenHash)), taken), unless(second(c.Session(c.ctx, s.ID)), taken)); err != nil {
			return err
		}
	}
	s.TenantID, s.CreatedAt = user.TenantID, c.at
	s.FreshAt, s.SeenAt = c.at, c.at
	s.Address, s.UserAgent = c.actor.Address, c.actor.UserAgent
	s.SeenFrom = s.Address
	c.is(s)
	return errors.Join(c.PutSession(c.ctx, s), c.noteNetwork(user, s, network))
}

// noteNetwork keeps from where a user signs in.
func (c *change) noteNetwork(u gestor.User, s gestor.Session, network string) error {
	if !c.atLeast(2) || network == "" {
		return nil
	}
	at := slices.Index(u.Networks, network)
	if at >= 0 && at == len(u.Networks)-1 {
		return nil
	}
	first := len(u.Networks) == 0
	if at >= 0 {
		u.Networks = slices.Delete(slices.Clone(u.Networks), at, at+1)
	}
	u.Networks = append(slices.Clone(u.Networks), network)
	u.Networks = u.Networks[max(0, len(u.Networks)-gestor.MostNetworks):]
	if err := c.PutUser(c.ctx, u); err != nil || at >= 0 || first {
		return err
	}
	return c.newNetwork(u, s, network)
}

func (c *change) deleteSession(op command.DeleteSession) error {
	c.about(string(op.ID), nil)
	s, err := c.mine().Session(c.ctx, op.ID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	c.was(s)
	if err := c.overOwnerOf(s); err != nil {
		return err
	}
	return c.DeleteSession(c.ctx, op.ID)
}

// overOwnerOf refuses to end a session of somebody who has more than the actor.
func (c *change) overOwnerOf(s gestor.Session) error {
	if !c.atLeast(2) || c.actor.ID == string(s.UserID) {
		return nil
	}
	u, err := c.mine().User(c.ctx, s.UserID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	return c.over(u)
}

// reauthenticate makes the actor's session fresh.
func (c *change) reauthenticate(op command.Reauthenticate) error {
	c.about(string(op.ID), nil)
	s, err := c.mine().Session(c.ctx, op.ID)
	if err != nil {
		return err
	}
	user, err := c.mine().User(c.ctx, s.UserID)
	if err != nil {
		return err
	}
	if c.actor.ID != string(user.ID) {
		return fault.Denied("only the person themselves may prove who they are")
	}
	if err := c.mayOpen(user, op.Stamp); err != nil {
		return err
	}
	switch {
	case !op.Use.IsZero():
		if err := c.use(user, op.Use, len(op.Stamp) == 0); err != nil {
			return err
		}
		s.SecondFactor = true
	case user.HasFactor || len(op.Stamp) == 0:
		return fault.Unauthenticated("this needs the second factor too").WithFix("send the code of your app, a recovery code or a passkey")
	}
	s.FreshAt, s.SeenAt, s.SeenFrom = c.at, c.at, c.actor.Address
	return c.PutSession(c.ctx, s)
}

// endSessions signs a person out everywhere but in one session.
func (c *change) endSessions(op command.EndSessions) error {
	c.about(string(op.UserID), nil)
	u, err := c.mine().User(c.ctx, op.UserID)
	if err != nil {
		return err
	}
	c.about(string(op.UserID), map[string]any{"email": u.Email})
	if c.actor.ID != string(u.ID) {
		if err := c.over(u); err != nil {
			return err
		}
	}
	return c.EndSessions(c.ctx, u.ID, op.Except)
}

func (c *change) touchSessions(op command.TouchSessions) error {
	for _, t := range op.Touches {
		if err := c.Touch(c.ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// idleFor is how long a session stays that nobody uses: as long as it works, see auth.IdleAfter, and a while for the clocks.
const idleFor = 13 * time.Hour

// pruneIdle removes sessions that have ended because nobody used them.
func (c *change) pruneIdle() error {
	if !c.atLeast(2) {
		return nil
	}
	return c.PruneIdleSessions(c.ctx, c.at.Add(-idleFor))
}

// newNetwork tells that a user has signed in from where they never did.
func (c *change) newNetwork(u gestor.User, s gestor.Session, network string) error {
	return c.event(gestor.Event{
		TenantID: u.TenantID, Severity: gestor.SeverityWarning, Kind: gestor.EventSignInNewNetwork, ObjectKind: "session", ObjectID: string(s.ID),
		Title: "new sign-in of " + u.Email + " from " + s.Address,
		Data:  map[string]string{"user": string(u.ID), "email": u.Email, "address": s.Address, "network": network, "user_agent": s.UserAgent},
		Key:   "new_network/" + string(u.ID) + "/" + network,
	})
}
