package keyring

import (
	"context"
	"errors"
	"fmt"
	"time"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Run makes this server's ring what the state says, until ctx ends: it fetches keys, says which it has, seals with the one
// that is to seal, and retires those that were dropped.
func (s *Service) Run(ctx context.Context) error {
	changes := s.o.Engine.Watch(state.Keys, state.Servers)
	defer changes.Close()
	tick := time.NewTicker(s.o.Look)
	defer tick.Stop()
	said := ""
	for {
		if err := s.follow(ctx); err != nil && ctx.Err() == nil {
			s.o.Log.Warn("the key ring does not follow yet", "err", err)
		}
		if notice := s.Notice(); notice != said { //nolint:contextcheck // reads what is in memory
			said = notice
			s.warn(notice)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changes.C:
		case <-tick.C:
		}
	}
}

func (s *Service) warn(notice string) {
	if notice == "" {
		s.o.Log.Info("all secret values can be read again")
		return
	}
	s.o.Log.Warn("secret values cannot be read", "err", notice)
}

func (s *Service) follow(ctx context.Context) error {
	known, err := s.view().SealingKeys(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range known {
		if k.Status != gestor.KeyDropped {
			errs = append(errs, s.have(ctx, k))
		}
	}
	if err := errors.Join(append(errs, s.turn(known))...); err != nil {
		return err
	}
	for _, k := range known {
		if k.Status == gestor.KeyDropped && s.o.Ring.Writable() {
			errs = append(errs, s.o.Ring.Retire(k.ID, k.DroppedAt))
		}
	}
	return errors.Join(errs...)
}

// turn seals with the key that is to seal, also what this server keeps for itself.
func (s *Service) turn(known []gestor.SealingKey) error {
	for _, k := range known {
		if k.Status != gestor.KeySealing || !s.o.Ring.Has(k.ID) {
			continue
		}
		if s.o.Ring.Sealing() != k.ID {
			if err := s.o.Ring.Use(k.ID); err != nil {
				return err
			}
			s.o.Log.Info("another key seals from now on", "key", k.ID)
		}
		if err := s.o.Local(); err != nil {
			return fmt.Errorf("seal this server's own secrets anew: %w", err)
		}
	}
	return nil
}

// have fetches a key that this server lacks, and says whether it has it.
func (s *Service) have(ctx context.Context, k gestor.SealingKey) error {
	problem := ""
	if !s.o.Ring.Has(k.ID) {
		if err := s.fetch(ctx, k.ID); err != nil {
			problem = err.Error()
		}
	}
	if before, said := k.Confirmed[s.o.Self]; said && before == problem {
		return nil
	}
	return s.propose(ctx, command.ConfirmKey{KeyID: k.ID, Server: s.o.Self, Problem: problem})
}

// fetch gets a key from the first server that has it. Its error is for people, and the same for the same cause.
func (s *Service) fetch(ctx context.Context, id string) error {
	if !s.o.Ring.Writable() {
		return fmt.Errorf("its key ring is %s, which the server does not write; add the line of the key %s there before the last one, and restart it",
			s.o.Ring.Source(), id)
	}
	for _, m := range s.o.Port.Others() {
		k, err := s.ask(ctx, m.ID, id)
		if err != nil {
			s.o.Log.Debug("a server did not hand over a key", "server", m.ID, "key", id, "err", err)
			continue
		}
		if k == nil {
			continue
		}
		if err := s.o.Ring.Add(secret.Key{ID: k.GetId(), Raw: k.GetKey()}); err != nil {
			s.o.Log.Error("could not keep a key", "key", id, "err", err)
			return errors.New("it could not write its key ring; its log has the reason")
		}
		s.o.Log.Info("fetched a key", "key", id, "server", m.ID)
		return nil
	}
	return errors.New("no other server that answers has the key")
}

func (s *Service) ask(ctx context.Context, server, id string) (*peerv1.SealingKey, error) {
	c, err := s.o.Port.Client(server)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	answer, err := peerv1connect.NewKeyServiceClient(c.HTTP, c.URL, c.Options...).FetchKeys(ctx, &peerv1.FetchKeysRequest{KeyIds: []string{id}})
	if err != nil {
		return nil, err
	}
	for _, k := range answer.GetKeys() {
		if k.GetId() == id {
			return k, nil
		}
	}
	return nil, nil //nolint:nilnil // it has none, which is no error
}

// askFor bounds how long a server may take to hand over a key.
const askFor = 3 * time.Second
