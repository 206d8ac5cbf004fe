package fsm

import (
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// authority is what the actor of a command has, and so may give to others, and take from them.
type authority struct {
	all      bool // of the system
	role     gestor.Role
	operator bool
	narrow   []gestor.Narrowing // within all of them
}

// authority reads what the actor has at this place in the log: what it had when it asked may have gone meanwhile.
func (c *change) authority() (authority, error) {
	if c.actor.Kind == "system" {
		return authority{all: true}, nil
	}
	own := c.In(gestor.TenantScope(c.actor.TenantID))
	if c.actor.TokenID == "" {
		return c.userAuthority(gestor.UserID(c.actor.ID))
	}
	t, err := own.Token(c.ctx, c.actor.TokenID)
	if none, err := absent(err); none {
		return authority{}, fault.Denied("the token was revoked")
	} else if err != nil {
		return authority{}, err
	}
	if t.Kind == gestor.TokenService {
		return authority{role: t.Role, narrow: []gestor.Narrowing{t.Narrow}}, nil
	}
	a, err := c.userAuthority(t.UserID)
	a.narrow = append(a.narrow, t.Narrow)
	return a, err
}

func (c *change) userAuthority(id gestor.UserID) (authority, error) {
	u, err := c.In(gestor.TenantScope(c.actor.TenantID)).User(c.ctx, id)
	if none, err := absent(err); none || err == nil && u.Status != gestor.StatusActive {
		return authority{}, fault.Denied("the account may not do this any more")
	} else if err != nil {
		return authority{}, err
	}
	return authorityOf(u), nil
}

func authorityOf(u gestor.User) authority {
	return authority{role: u.Role, operator: u.Operator, narrow: []gestor.Narrowing{u.Narrow}}
}

// mayGive refuses a grant that exceeds what the actor has.
func (a authority) mayGive(role gestor.Role, operator bool, n gestor.Narrowing) error {
	if a.all {
		return nil
	}
	if !a.role.Includes(role) {
		return fault.Denied("nobody gives more than they have: the role %s is more than yours", role)
	}
	if operator && !a.operator {
		return fault.Denied("only operators make operators")
	}
	for _, own := range a.narrow {
		if !own.Covers(n) {
			return fault.Denied("nobody gives more than they have: you see only some apps, and would give others").
				WithFix("narrow it to apps and environments that you were given")
		}
	}
	return nil
}

// over refuses an actor who has less than a person: that person is not theirs to change.
func (a authority) over(u gestor.User) error {
	if a.mayGive(u.Role, u.Operator, u.Narrow) != nil {
		return fault.Denied("%s may do more than you, so you cannot change what they may", u.Email).
			WithFix("ask somebody who may do at least as much")
	}
	return nil
}
