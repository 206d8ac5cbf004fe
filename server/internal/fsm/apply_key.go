package fsm

import (
	"errors"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// applySecretOp applies the ops on keys and on versions of variables; it reports whether op is one.
func (c *change) applySecretOp(op command.Op) (bool, error) {
	switch op := op.(type) {
	case command.RotateKey:
		return true, c.rotateKey(op)
	case command.RegisterKey:
		return true, c.registerKey(op)
	case command.ConfirmKey:
		return true, c.confirmKey(op)
	case command.ActivateKey:
		return true, c.activateKey(op)
	case command.Reseal:
		return true, c.reseal(op)
	case command.FinishRotation:
		return true, c.finishRotation(op)
	case command.DropKeys:
		return true, c.dropKeys()
	case command.RollbackEnv:
		return true, c.rollbackEnv(op)
	}
	return false, nil
}

func (c *change) rotateKey(op command.RotateKey) error {
	c.about(op.KeyID, nil)
	if op.KeyID == "" {
		return fault.Invalid("key", "a key has an id")
	}
	if err := unless(second(c.SealingKey(c.ctx, op.KeyID)), fault.Exists("the key %s is known already", op.KeyID).
		WithFix("make a new one: gestor-server new-key")); err != nil {
		return err
	}
	if err := c.giveUp(op); err != nil {
		return err
	}
	return errors.Join(
		c.PutKeyRotation(c.ctx, gestor.KeyRotation{Phase: gestor.RotationSpreading, KeyID: op.KeyID, StartedAt: c.at, StartedBy: c.actor.Name}),
		c.PutSealingKey(c.ctx, gestor.SealingKey{ID: op.KeyID, Status: gestor.KeySpreading, CreatedAt: c.at}),
	)
}

// giveUp ends a rotation whose key seals nothing yet, if that is asked for; one under way is refused otherwise.
func (c *change) giveUp(op command.RotateKey) error {
	r, err := c.noRotation()
	if err == nil || !op.Again || r.Phase != gestor.RotationSpreading {
		return err
	}
	k, err := c.SealingKey(c.ctx, r.KeyID)
	if err != nil {
		return err
	}
	k.Status, k.DroppedAt = gestor.KeyDropped, c.at
	return c.PutSealingKey(c.ctx, k)
}

// noRotation is the last rotation, which must have ended.
func (c *change) noRotation() (gestor.KeyRotation, error) {
	r, err := c.KeyRotation(c.ctx)
	if err == nil && r.Phase.UnderWay() {
		err = fault.Conflict("the key is being changed since %s, for %s", r.StartedAt.Format("2006-01-02 15:04:05 MST"), r.StartedBy).
			WithFix("see how far it is: gestor servers rotate-key --status")
	}
	return r, err
}

// registerKey is for the first leader of a state without keys; to others it says nothing new.
func (c *change) registerKey(op command.RegisterKey) error {
	c.about(op.KeyID, nil)
	known, err := c.SealingKeys(c.ctx)
	if err != nil || len(known) > 0 {
		return err
	}
	if op.KeyID == "" {
		return fault.Invalid("key_id", "a key has an id")
	}
	return c.PutSealingKey(c.ctx, gestor.SealingKey{ID: op.KeyID, Status: gestor.KeySealing, CreatedAt: c.at, SealingAt: c.at})
}

func (c *change) confirmKey(op command.ConfirmKey) error {
	c.about(op.KeyID, map[string]any{"server": op.Server, "problem": op.Problem})
	k, err := c.SealingKey(c.ctx, op.KeyID)
	if err != nil {
		return err
	}
	if _, err := c.Server(c.ctx, op.Server); err != nil {
		return err
	}
	if problem, said := k.Confirmed[op.Server]; said && problem == op.Problem {
		return nil
	}
	return c.PutSealingKey(c.ctx, k.With(op.Server, op.Problem))
}

func (c *change) activateKey(op command.ActivateKey) error {
	c.about(op.KeyID, nil)
	r, err := c.KeyRotation(c.ctx)
	if err != nil {
		return err
	}
	k, err := c.SealingKey(c.ctx, op.KeyID)
	if err != nil {
		return err
	}
	if k.Status != gestor.KeySpreading || r.KeyID != k.ID {
		return fault.Conflict("the key %s does not wait to seal, it is %s", k.ID, k.Status)
	}
	if err := c.everywhere(k); err != nil {
		return err
	}
	if err := c.replaceSealing(); err != nil {
		return err
	}
	k.Status, k.SealingAt, r.Phase = gestor.KeySealing, c.at, gestor.RotationSealing
	return errors.Join(c.PutSealingKey(c.ctx, k), c.PutKeyRotation(c.ctx, r))
}

// everywhere refuses a key that a server has not confirmed: it could not read what others seal.
func (c *change) everywhere(k gestor.SealingKey) error {
	servers, err := c.Servers(c.ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, s := range k.Missing(servers) {
		names = append(names, s.Name)
	}
	if len(names) > 0 {
		return fault.Conflict("not every server has the key %s: %s", k.ID, strings.Join(names, ", "))
	}
	return nil
}

func (c *change) replaceSealing() error {
	known, err := c.SealingKeys(c.ctx)
	if err != nil {
		return err
	}
	for _, k := range known {
		if k.Status != gestor.KeySealing {
			continue
		}
		k.Status = gestor.KeyOld
		if err := c.PutSealingKey(c.ctx, k); err != nil {
			return err
		}
	}
	return nil
}

// sealingKey is the id of the key that seals; empty where none is known.
func (c *change) sealingKey() (string, error) {
	known, err := c.SealingKeys(c.ctx)
	i := slices.IndexFunc(known, func(k gestor.SealingKey) bool { return k.Status == gestor.KeySealing })
	if err != nil || i < 0 {
		return "", err
	}
	return known[i].ID, nil
}

func (c *change) reseal(op command.Reseal) error {
	sealing, err := c.sealingKey()
	if err != nil {
		return err
	}
	c.about(sealing, map[string]any{"values": len(op.Values)})
	for _, v := range op.Values {
		if by := state.SealedWith(v.Sealed); by == "" || by != sealing {
			return fault.Conflict("a value was sealed with another key than %s", sealing).WithFix("seal it again")
		}
		if err := c.Reseal(c.ctx, v); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) finishRotation(op command.FinishRotation) error {
	c.about(op.KeyID, map[string]any{"unreadable": op.Unreadable})
	r, err := c.KeyRotation(c.ctx)
	if err != nil {
		return err
	}
	if r.Phase != gestor.RotationSealing || r.KeyID != op.KeyID {
		return fault.Conflict("nothing is being sealed anew with the key %s", op.KeyID)
	}
	r.Phase, r.FinishedAt, r.Unreadable = gestor.RotationDone, c.at, op.Unreadable
	return c.PutKeyRotation(c.ctx, r)
}

func (c *change) dropKeys() error {
	if _, err := c.noRotation(); err != nil {
		return err
	}
	known, err := c.SealingKeys(c.ctx)
	if err != nil {
		return err
	}
	old := slices.DeleteFunc(known, func(k gestor.SealingKey) bool { return k.Status != gestor.KeyOld })
	if len(old) == 0 {
		return fault.Conflict("there is no old key").WithFix("change to a new one first: gestor servers rotate-key")
	}
	counts, err := c.SealedCounts(c.ctx)
	if err != nil {
		return err
	}
	var ids []string
	for _, k := range old {
		if n := counts[k.ID]; n > 0 {
			return fault.Conflict("%d values are still sealed with the key %s and could not be sealed anew", n, k.ID).
				WithFix("put the key back into the ring of the servers, or set these values anew; see gestor servers rotate-key --status")
		}
		k.Status, k.DroppedAt = gestor.KeyDropped, c.at
		ids = append(ids, k.ID)
		if err := c.PutSealingKey(c.ctx, k); err != nil {
			return err
		}
	}
	c.about(strings.Join(ids, ", "), nil)
	return nil
}

// sealedFits refuses values sealed with a key that was dropped meanwhile: nobody could read them for long. What arrives
// here a moment after a change of the key, sealed with the one before, is fine: the leader seals it anew.
func (c *change) sealedFits(values ...[]byte) error {
	if !c.atLeast(2) {
		return nil
	}
	for _, v := range values {
		id := state.SealedWith(v)
		if id == "" {
			continue
		}
		k, err := c.SealingKey(c.ctx, id)
		if none, err := absent(err); err != nil {
			return err
		} else if none || k.Status != gestor.KeyDropped {
			continue
		}
		return fault.Conflict("the key %s, which sealed this, has been dropped", id).WithFix("try again in a moment")
	}
	return nil
}
