package keyring

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Bounds of one command that seals anew.
const (
	batchValues = 100
	batchBytes  = 512 << 10
)

// RunTerm carries the change to another key on for as long as this server leads.
func (s *Service) RunTerm(ctx context.Context) error {
	changes := s.o.Engine.Watch(state.Keys, state.Servers)
	defer changes.Close()
	tick := time.NewTicker(s.o.Look)
	defer tick.Stop()
	for {
		if err := s.lead(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
		case <-tick.C:
		}
	}
}

// lead does what there is to do now.
func (s *Service) lead(ctx context.Context) error {
	if level, err := s.o.Engine.Level(ctx); err != nil || level < command.Needs(command.Reseal{}) {
		return err
	}
	known, err := s.view().SealingKeys(ctx)
	if err != nil {
		return err
	}
	if len(known) == 0 {
		return s.propose(ctx, command.RegisterKey{KeyID: s.o.Ring.Sealing()})
	}
	if done, err := s.activate(ctx, known); done || err != nil {
		return err // looked at anew at once, because the keys have changed
	}
	return s.sealAnew(ctx, known)
}

// activate lets a key seal that all servers have.
func (s *Service) activate(ctx context.Context, known []gestor.SealingKey) (bool, error) {
	servers, err := s.view().Servers(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range known {
		if k.Status != gestor.KeySpreading || len(k.Missing(servers)) > 0 || len(servers) == 0 {
			continue
		}
		s.o.Log.Info("every server has the new key", "key", k.ID)
		return true, s.propose(ctx, command.ActivateKey{KeyID: k.ID})
	}
	return false, nil
}

// sealAnew seals anew what is sealed with another key than the one that seals, and ends the rotation once nothing is left.
// It also finds what a server has sealed with the key before a moment after the change.
func (s *Service) sealAnew(ctx context.Context, known []gestor.SealingKey) error {
	i := slices.IndexFunc(known, func(k gestor.SealingKey) bool { return k.Status == gestor.KeySealing })
	if i < 0 || s.o.Ring.Sealing() != known[i].ID {
		return nil // this server's own ring follows in a moment, or says what keeps it
	}
	for {
		anew, unreadable, err := s.pass(ctx, known[i].ID)
		if err != nil {
			return err
		}
		if anew == 0 {
			return s.finish(ctx, known[i].ID, unreadable)
		}
		s.o.Log.Info("sealed values anew", "key", known[i].ID, "values", anew)
	}
}

func (s *Service) finish(ctx context.Context, id string, unreadable int64) error {
	r, err := s.view().KeyRotation(ctx)
	if err != nil || r.Phase != gestor.RotationSealing || r.KeyID != id {
		return err
	}
	if unreadable > 0 {
		s.o.Log.Warn("some values stay sealed with keys that are lost", "values", unreadable)
	}
	return s.propose(ctx, command.FinishRotation{KeyID: id, Unreadable: unreadable})
}

// pass goes once through all sealed values.
func (s *Service) pass(ctx context.Context, sealing string) (anew, unreadable int64, err error) {
	for after := (state.Sealed{}); ; {
		found, err := s.view().SealedOtherwise(ctx, []string{sealing}, after, batchValues)
		if err != nil || len(found) == 0 {
			return anew, unreadable, err
		}
		after = found[len(found)-1]
		values := s.again(found)
		unreadable += int64(len(found) - len(values))
		anew += int64(len(values))
		if err := s.replace(ctx, values); err != nil {
			return anew, unreadable, fmt.Errorf("seal values anew: %w", err)
		}
	}
}

// again seals anew what can be read.
func (s *Service) again(found []state.Sealed) []gestor.Resealed {
	var out []gestor.Resealed
	for _, f := range found {
		plain, err := s.read(f)
		if err != nil {
			s.o.Log.Debug("a value cannot be sealed anew", "column", f.Column, "row", f.Key, "err", err)
			continue
		}
		sum := sha256.Sum256(f.Value)
		out = append(out, gestor.Resealed{Column: f.Column, Key: f.Key, Before: sum[:], Sealed: s.o.Ring.Seal(plain, f.Place)})
		clear(plain)
	}
	return out
}

func (s *Service) read(f state.Sealed) ([]byte, error) {
	plain, err := s.o.Ring.Open(f.Value, f.Place)
	if known, ok := s.o.Known(f.Place); ok && err != nil {
		return known, nil //nolint:nilerr // what this server knows from elsewhere heals what it cannot open
	}
	return plain, err
}

// replace proposes values in commands of a bounded size.
func (s *Service) replace(ctx context.Context, values []gestor.Resealed) error {
	for len(values) > 0 {
		n, bytes := 0, 0
		for n < len(values) && (n == 0 || bytes+len(values[n].Sealed) <= batchBytes) {
			bytes += len(values[n].Sealed)
			n++
		}
		if err := s.propose(ctx, command.Reseal{Values: values[:n]}); err != nil {
			return err
		}
		values = values[n:]
	}
	return nil
}
