package fsm

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// applyFactorOp applies the ops on second factors, and those on sessions that came with them; it reports whether op is one.
func (c *change) applyFactorOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.AddFactor:
		return true, c.addFactor(op)
	case command.RemoveFactor:
		return true, c.removeFactor(op)
	case command.RenameFactor:
		return true, c.renameFactor(op)
	case command.SetRecoveryCodes:
		return true, c.setRecoveryCodes(op)
	case command.ResetFactors:
		return true, c.resetFactors(op)
	case command.SignIn:
		return true, c.signIn(op)
	case command.Reauthenticate:
		return true, c.reauthenticate(op)
	case command.EndSessions:
		return true, c.endSessions(op)
	case command.TouchSessions:
		return true, c.touchSessions(op)
	}
	return false, nil
}

// self is the acting person, whose own second factors these are.
func (c *change) self(id gestor.UserID) (gestor.User, error) {
	u, err := c.mine().User(c.ctx, id)
	if err != nil {
		return u, err
	}
	if c.actor.Kind != "user" || c.actor.ID != string(id) {
		return u, fault.Denied("only the person themselves may change their second factors")
	}
	return u, nil
}

func (c *change) addFactor(op command.AddFactor) error {
	f := op.Factor
	c.about(string(f.ID), map[string]any{"kind": f.Kind, "name": f.Name})
	u, err := c.self(f.UserID)
	if err != nil {
		return err
	}
	if err := unless(second(c.Factor(c.ctx, f.ID)), fault.Exists("the second factor %s is there already", f.ID)); err != nil {
		return err
	}
	if err := c.makeRoom(f); err != nil {
		return err
	}
	f.TenantID, f.CreatedAt, f.SeenAt = u.TenantID, c.at, time.Time{}
	if err := c.PutFactor(c.ctx, f); err != nil {
		return err
	}
	if len(op.Recovery) > 0 {
		if err := c.SetRecoveryCodes(c.ctx, u, op.Recovery); err != nil {
			return err
		}
	}
	u.HasFactor = true
	return errors.Join(c.PutUser(c.ctx, u), c.provedHere())
}

// provedHere notes that the acting session has shown a second factor: it has just set one up.
func (c *change) provedHere() error {
	s, err := c.mine().Session(c.ctx, c.actor.SessionID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	s.SecondFactor = true
	return c.PutSession(c.ctx, s)
}

// makeRoom refuses a second factor too many and a passkey that is there already; an app takes the place of another.
func (c *change) makeRoom(f gestor.Factor) error {
	if f.Kind == gestor.FactorPasskey {
		there := fault.Exists("this passkey is registered already").WithFix("see `gestor account passkeys`")
		if err := unless(second(c.In(gestor.SystemScope()).FactorByCredential(c.ctx, f.CredentialID)), there); err != nil {
			return err
		}
	} else if f.Kind != gestor.FactorTOTP {
		return fault.Invalid("kind", "%q is no kind of second factor", f.Kind)
	}
	all, err := c.FactorsByUser(c.ctx, f.UserID)
	if err != nil {
		return err
	}
	for _, other := range all {
		if f.Kind == gestor.FactorTOTP && other.Kind == gestor.FactorTOTP {
			return c.DeleteFactor(c.ctx, other.ID)
		}
	}
	if len(all) >= gestor.MostFactors {
		return fault.Conflict("there are %d second factors already, the most", len(all)).WithFix("remove one first")
	}
	return nil
}

// ownFactor is a second factor of the acting person.
func (c *change) ownFactor(id gestor.FactorID) (gestor.Factor, gestor.User, error) {
	f, err := c.mine().Factor(c.ctx, id)
	if err != nil {
		return f, gestor.User{}, err
	}
	u, err := c.self(f.UserID)
	if errors.Is(err, fault.KindDenied) {
		err = fault.NotFound("there is no such second factor")
	}
	return f, u, err
}

func (c *change) removeFactor(op command.RemoveFactor) error {
	c.about(string(op.ID), nil)
	f, u, err := c.ownFactor(op.ID)
	if err != nil {
		return err
	}
	c.about(string(op.ID), map[string]any{"kind": f.Kind, "name": f.Name})
	all, err := c.FactorsByUser(c.ctx, u.ID)
	if err != nil {
		return err
	}
	if len(all) > 1 {
		return c.DeleteFactor(c.ctx, f.ID)
	}
	tenant, err := c.In(gestor.SystemScope()).Tenant(c.ctx, u.TenantID)
	if err != nil {
		return err
	}
	if tenant.SecondFactor {
		return fault.Conflict("this is your last second factor, and %s wants everybody to have one", tenant.Name).
			WithFix("set another one up first: gestor account totp")
	}
	u.HasFactor = false
	return errors.Join(c.DeleteFactors(c.ctx, u.ID), c.PutUser(c.ctx, u))
}

func (c *change) renameFactor(op command.RenameFactor) error {
	c.about(string(op.ID), map[string]any{"name": op.Name})
	f, _, err := c.ownFactor(op.ID)
	if err != nil {
		return err
	}
	f.Name = op.Name
	return c.PutFactor(c.ctx, f)
}

func (c *change) setRecoveryCodes(op command.SetRecoveryCodes) error {
	c.about(string(op.UserID), map[string]any{"codes": len(op.Hashes)})
	u, err := c.self(op.UserID)
	if err != nil {
		return err
	}
	if !u.HasFactor {
		return fault.Conflict("recovery codes are for when a second factor is lost, and you have none").
			WithFix("set one up first: gestor account totp")
	}
	return c.SetRecoveryCodes(c.ctx, u, op.Hashes)
}

// resetFactors is for who has lost them. It ends the person's sessions too: whoever has what was lost may be in one.
func (c *change) resetFactors(op command.ResetFactors) error {
	c.about(string(op.UserID), nil)
	u, err := c.people().User(c.ctx, op.UserID)
	if err != nil {
		return err
	}
	c.about(string(op.UserID), map[string]any{"email": u.Email})
	if err := c.over(u); err != nil {
		return err
	}
	u.HasFactor = false
	return errors.Join(c.DeleteFactors(c.ctx, u.ID), c.EndSessions(c.ctx, u.ID, ""), c.PutUser(c.ctx, u))
}

// over refuses who has less than a person and would take something from them.
func (c *change) over(u gestor.User) error {
	by, err := c.authority()
	if err != nil {
		return err
	}
	return by.over(u)
}

// badFactor is one message for every second factor that does not prove anything, so that it tells nothing.
func badFactor() error {
	return fault.Unauthenticated("the code or passkey is wrong, or has been used already").WithFix("try again with a new one")
}

// use notes the use of a user's second factor, which happens once: comparing and setting is one. Alone, without a password,
// only a passkey proves anything.
func (c *change) use(u gestor.User, use gestor.FactorUse, alone bool) error {
	if len(use.Recovery) > 0 && !alone {
		return c.useRecoveryCode(u, use.Recovery)
	}
	f, err := c.In(gestor.SystemScope()).Factor(c.ctx, use.Factor)
	if none, err := absent(err); none {
		return badFactor()
	} else if err != nil {
		return err
	}
	if f.UserID != u.ID || alone && f.Kind != gestor.FactorPasskey {
		return badFactor()
	}
	if f.Kind == gestor.FactorTOTP {
		if use.Step <= f.Step {
			return badFactor()
		}
		f.Step = use.Step
	} else if err := c.usePasskey(&f, use); err != nil {
		return err
	}
	f.SeenAt = c.at
	return c.PutFactor(c.ctx, f)
}

func (c *change) useRecoveryCode(u gestor.User, hash []byte) error {
	left, err := c.RecoveryCodes(c.ctx, u.ID)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(left, func(r gestor.RecoveryCode) bool { return bytes.Equal(r.Hash, hash) }) {
		return badFactor()
	}
	c.detail = map[string]any{"recovery_code": true, "left": len(left) - 1}
	return c.DeleteRecoveryCode(c.ctx, u.ID, hash)
}

// usePasskey refuses a challenge that was answered before, and a counter that did not go up: two devices have the key then.
func (c *change) usePasskey(f *gestor.Factor, use gestor.FactorUse) error {
	if len(use.Challenge.Hash) == 0 || !c.at.Before(use.Challenge.Until) {
		return badFactor()
	}
	f.Challenges = slices.DeleteFunc(f.Challenges, func(a gestor.Challenge) bool { return !c.at.Before(a.Until) })
	if slices.ContainsFunc(f.Challenges, func(a gestor.Challenge) bool { return bytes.Equal(a.Hash, use.Challenge.Hash) }) {
		return badFactor()
	}
	if len(f.Challenges) >= gestor.MostChallenges {
		return fault.Exhausted("this passkey was used too often within a few minutes").WithRetryAfter(time.Minute)
	}
	if (use.SignCount != 0 || f.SignCount != 0) && use.SignCount <= f.SignCount {
		return badFactor()
	}
	f.Challenges = append(f.Challenges, use.Challenge)
	f.SignCount = use.SignCount
	return nil
}
