package fsm

import (
	"bytes"
	"errors"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// applyProviderOp applies the ops on providers and identities; it reports whether op is one.
func (c *change) applyProviderOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.CreateProvider:
		return true, c.createProvider(op)
	case command.UpdateProvider:
		return true, c.updateProvider(op)
	case command.DeleteProvider:
		return true, c.deleteProvider(op)
	case command.AdmitIdentity:
		return true, c.admitIdentity(op)
	case command.DeleteIdentity:
		return true, c.deleteIdentity(op)
	}
	return false, nil
}

// overProviders refuses who does not have all that people of the tenant can have: whoever says which provider is asked says
// who anybody is. Operators are let in by what an operator saw to; it tells whether the actor is one.
func (c *change) overProviders() (operator bool, err error) {
	by, err := c.authority()
	if err != nil {
		return false, err
	}
	if by.mayGive(gestor.RoleAdmin, false, gestor.Narrowing{}) != nil {
		return false, fault.Denied("a provider says who anybody of the tenant is, so only administrators who are not narrowed choose it")
	}
	return by.all || by.operator, nil
}

func (c *change) createProvider(op command.CreateProvider) error {
	p := op.Provider
	c.about(string(p.ID), nil)
	c.is(p)
	if p.ID == "" {
		return fault.Invalid("id", "a provider needs an id")
	}
	if err := unless(second(c.In(gestor.SystemScope()).Provider(c.ctx, p.ID)), fault.Exists("the provider %s exists already", p.ID)); err != nil {
		return err
	}
	operator, err := c.overProviders()
	if err != nil {
		return err
	}
	p.TenantID, p.Operators, p.CreatedBy, p.CreatedAt = c.actor.TenantID, operator, c.actor.Name, c.at
	if _, err := c.In(gestor.SystemScope()).Tenant(c.ctx, p.TenantID); err != nil {
		return err
	}
	n, err := c.CountProviders(c.ctx, p.TenantID)
	if err != nil {
		return err
	}
	if n >= gestor.MostProviders {
		return fault.Exhausted("a tenant has at most %d providers", gestor.MostProviders).WithFix("remove one that nobody needs")
	}
	if err := c.checkProvider(p); err != nil {
		return err
	}
	c.is(p)
	return errors.Join(c.PutProvider(c.ctx, p), c.providerTurned(p, "added"))
}

func (c *change) checkProvider(p gestor.Provider) error {
	if !p.Role.IsKnown() || p.Role == gestor.RoleAdmin {
		return fault.Invalid("settings.role", "nobody becomes %q by signing in", p.Role).WithFix("choose devops, developer or viewer")
	}
	if p.Issuer == "" || p.ClientID == "" || len(p.Domains) == 0 || len(p.Domains) > gestor.MostProviderDomains {
		return fault.Invalid("settings", "a provider needs an issuer, a client id and 1 to %d domains", gestor.MostProviderDomains)
	}
	other, err := c.In(gestor.TenantScope(p.TenantID)).ProviderByName(c.ctx, p.Name)
	if none, err := absent(err); err != nil {
		return err
	} else if !none && other.ID != p.ID {
		return fault.Exists("there is a provider named %s already", p.Name).WithFix("choose another name")
	}
	for _, d := range p.Domains {
		other, err := c.In(gestor.SystemScope()).ProviderByDomain(c.ctx, d)
		if none, err := absent(err); err != nil {
			return err
		} else if !none && other.ID != p.ID {
			return fault.Exists("the domain %s has a provider already", d).WithFix("a domain has one provider; take it from the other first, or ask an operator of this installation")
		}
	}
	return nil
}

func (c *change) updateProvider(op command.UpdateProvider) error {
	p := op.Provider
	c.about(string(p.ID), nil)
	known, err := c.people().Provider(c.ctx, p.ID)
	if err != nil {
		return err
	}
	c.was(known)
	if op.ExpectedRevision != 0 && op.ExpectedRevision != known.Revision {
		return fault.Conflict("the provider %s was changed by somebody else meanwhile", known.Name).WithFix("look at it again, then change it")
	}
	operator, err := c.overProviders()
	if err != nil {
		return err
	}
	moved := p.Issuer != known.Issuer
	if len(p.SecretSealed) == 0 && moved && len(known.SecretSealed) > 0 {
		return fault.Invalid("client_secret", "the client secret of %s is not for another issuer", known.Name).WithFix("give the new one too")
	}
	if len(p.SecretSealed) == 0 {
		p.SecretSealed = known.SecretSealed
	}
	p.TenantID, p.Operators, p.CreatedBy, p.CreatedAt = known.TenantID, operator, known.CreatedBy, known.CreatedAt
	if err := c.checkProvider(p); err != nil {
		return err
	}
	c.is(p)
	if moved { // the same subject is somebody else there
		if err := c.DeleteIdentitiesAt(c.ctx, p.ID); err != nil {
			return err
		}
	}
	return errors.Join(c.PutProvider(c.ctx, p), c.providerTurned(p, "changed"))
}

func (c *change) deleteProvider(op command.DeleteProvider) error {
	c.about(string(op.ID), nil)
	p, err := c.people().Provider(c.ctx, op.ID)
	if err != nil {
		return err
	}
	c.was(p)
	if _, err := c.overProviders(); err != nil {
		return err
	}
	return errors.Join(c.DeleteProvider(c.ctx, p.ID), c.providerTurned(p, "removed"))
}

// notAdmitted is one message for all that the outside shall not tell apart: whether there is such a person, and where.
func notAdmitted() *fault.Error {
	return fault.Denied("your company's sign-in is right, but nobody here can be signed in with it").WithFix("ask an administrator of your organisation to let you in").
		WithReason("company_nobody")
}

// startAgain is for an answer that cannot be taken, but another one can.
func startAgain() *fault.Error {
	return fault.Unauthenticated("this took too long, or was done already").WithFix("start again").WithReason("company_again")
}

func (c *change) admitIdentity(op command.AdmitIdentity) error {
	c.about(string(op.User), nil)
	p, err := c.In(gestor.SystemScope()).Provider(c.ctx, op.Provider)
	if none, err := absent(err); none || err == nil && (p.Disabled || !p.Takes(op.Email)) {
		return notAdmitted()
	} else if err != nil {
		return err
	}
	c.tenant = p.TenantID
	if p.Revision != op.Revision || op.Subject == "" || len(op.Answer.Hash) == 0 || !c.at.Before(op.Answer.Until) {
		return startAgain()
	}
	known, err := c.In(gestor.SystemScope()).IdentityBySubject(c.ctx, p.ID, op.Subject)
	none, err := absent(err)
	if err != nil {
		return err
	}
	if none {
		return c.link(p, op)
	}
	u, err := c.In(gestor.TenantScope(p.TenantID)).User(c.ctx, known.UserID)
	if err != nil {
		return err
	}
	return c.vouched(p, u, known, op)
}

// link finds the user of an address that the provider has verified, or makes one.
func (c *change) link(p gestor.Provider, op command.AdmitIdentity) error {
	if err := unless(second(c.Identity(c.ctx, op.Identity)), startAgain()); err != nil {
		return err
	}
	i := gestor.Identity{ID: op.Identity, TenantID: p.TenantID, ProviderID: p.ID, Subject: op.Subject, CreatedAt: c.at}
	u, err := c.In(gestor.SystemScope()).UserByEmail(c.ctx, op.Email)
	none, err := absent(err)
	if err != nil {
		return err
	}
	if none {
		if u, err = c.createFor(p, op); err != nil {
			return err
		}
	}
	if u.TenantID != p.TenantID {
		return notAdmitted()
	}
	// The address may have been given to somebody else there, who is not this user.
	linked := fault.Denied("%s is linked to another account of the provider", u.Email).WithFix("ask an administrator to remove that link: gestor providers unlink")
	if err := unless(second(c.In(gestor.SystemScope()).IdentityOfUser(c.ctx, p.ID, u.ID)), linked); err != nil {
		return err
	}
	return c.vouched(p, u, i, op)
}

// createFor makes a user whom a provider vouches for.
func (c *change) createFor(p gestor.Provider, op command.AdmitIdentity) (gestor.User, error) {
	if !p.CreateUsers || op.User == "" {
		return gestor.User{}, notAdmitted()
	}
	t, err := c.In(gestor.SystemScope()).Tenant(c.ctx, p.TenantID)
	if err != nil {
		return gestor.User{}, err
	}
	if t.Status != gestor.StatusActive {
		return gestor.User{}, fault.Denied("nobody can join %s now: the tenant is %s", t.Name, statusWords(t.Status))
	}
	if err := unless(second(c.User(c.ctx, op.User)), startAgain()); err != nil {
		return gestor.User{}, err
	}
	u := gestor.User{
		ID: op.User, TenantID: p.TenantID, Email: op.Email, Name: op.Name, Role: p.Role, Status: gestor.StatusActive, CreatedAt: c.at,
		EmailVerifiedAt: c.at,
	}
	c.is(u)
	return u, errors.Join(c.PutUser(c.ctx, u), c.userJoined(u, p))
}

// vouched records that the provider vouched for a user, once for every answer of it.
func (c *change) vouched(p gestor.Provider, u gestor.User, i gestor.Identity, op command.AdmitIdentity) error {
	c.about(string(u.ID), nil)
	if u.Status != gestor.StatusActive {
		return fault.Denied("the account %s is %s", u.Email, u.Status).WithFix("ask an administrator of your tenant")
	}
	if u.Operator && !p.Operators {
		return fault.Denied("operators do not sign in through %s: no operator has seen to it", p.Name).
			WithFix("sign in with your password, or have an operator save the provider's settings again")
	}
	i.Answers = slices.DeleteFunc(slices.Clone(i.Answers), func(a gestor.Challenge) bool { return !c.at.Before(a.Until) })
	if slices.ContainsFunc(i.Answers, func(a gestor.Challenge) bool { return bytes.Equal(a.Hash, op.Answer.Hash) }) {
		return startAgain()
	}
	if len(i.Answers) >= gestor.MostChallenges {
		return fault.Exhausted("%s signs in too often", u.Email).WithFix("wait some minutes")
	}
	i.Answers = append(i.Answers, op.Answer)
	i.UserID, i.Email, i.SeenAt = u.ID, op.Email, c.at
	c.is(i)
	return c.PutIdentity(c.ctx, i)
}

func (c *change) deleteIdentity(op command.DeleteIdentity) error {
	c.about(string(op.ID), nil)
	i, err := c.people().Identity(c.ctx, op.ID)
	if none, err := absent(err); none || err != nil {
		return err
	}
	c.was(i)
	u, err := c.people().User(c.ctx, i.UserID)
	if err != nil {
		return err
	}
	by, err := c.authority()
	if err != nil {
		return err
	}
	if err := by.over(u); err != nil {
		return err
	}
	return c.DeleteIdentity(c.ctx, i.ID)
}

// providerTurned tells administrators that there is another way in.
func (c *change) providerTurned(p gestor.Provider, how string) error {
	return c.event(gestor.Event{
		TenantID: p.TenantID, Severity: gestor.SeverityWarning, Kind: gestor.EventProviderChanged, ObjectKind: "provider", ObjectID: string(p.ID),
		Title: "the sign-in provider " + p.Name + " was " + how + " by " + c.actor.Name,
		Data:  map[string]string{"provider": p.Name, "issuer": p.Issuer, "by": c.actor.Name, "how": how},
	})
}

// userJoined tells of somebody who became a user by signing in.
func (c *change) userJoined(u gestor.User, p gestor.Provider) error {
	return c.event(gestor.Event{
		TenantID: u.TenantID, Severity: gestor.SeverityInfo, Kind: gestor.EventUserJoined, ObjectKind: "user", ObjectID: string(u.ID),
		Title: u.Email + " joined through " + p.Name, Data: map[string]string{"email": u.Email, "provider": p.Name, "role": string(u.Role)},
	})
}
