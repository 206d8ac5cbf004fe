package keyring

import (
	"context"
	"fmt"
	"slices"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// Prepare has a key in this server's ring that seals nothing yet, for command.RotateKey: the one of an id, or, where that is
// empty, a new one. discard takes a new one out again; it is for a command that was refused.
func (s *Service) Prepare(id string) (key string, discard func(), err error) {
	if id != "" {
		if !s.o.Ring.Has(id) {
			return "", nil, fault.Invalid("key", "the key %s is not in %s", id, s.o.Ring.Source()).
				WithFix("put its line there, above the last one, on every control server, and restart them")
		}
		return id, func() {}, nil
	}
	if !s.o.Ring.Writable() {
		return "", nil, fault.Conflict("the key ring is %s, which the server does not write", s.o.Ring.Source()).
			WithFix("make a key with `gestor-server new-key`, put its line above the last one of the ring on every control server, restart them, " +
				"then: gestor servers rotate-key --key <id>, the first word of the line")
	}
	k := secret.NewKey()
	if err := s.o.Ring.Add(k); err != nil {
		return "", nil, err
	}
	return k.ID, func() {
		if err := s.o.Ring.Discard(k.ID); err != nil {
			s.o.Log.Warn("a key that is not used stays in the ring", "key", k.ID, "err", err)
		}
	}, nil
}

// Status is what is known of the keys.
type Status struct {
	Keys       []gestor.SealingKey // the oldest first; not those that were dropped
	Lacking    map[string][]string // by key: the servers that lack it, "ctl3: it does not answer"
	Having     map[string][]string // by key: the names of the servers that have it
	Values     map[string]int64    // by key: how much is sealed with it
	Unreadable map[string]int64    // by key that this server lacks
	Rotation   gestor.KeyRotation
	Remaining  int64 // values that are sealed with another key than the rotation's
	Waiting    string
	Source     string // where this server has its ring
}

// Status tells how it stands; statuses are the servers that answer.
func (s *Service) Status(ctx context.Context, statuses map[gestor.ServerID]*peerv1.GetStatusResponse) (Status, error) {
	known, err := s.view().SealingKeys(ctx)
	if err != nil {
		return Status{}, err
	}
	servers, err := s.view().Servers(ctx)
	if err != nil {
		return Status{}, err
	}
	out := Status{Lacking: map[string][]string{}, Having: map[string][]string{}, Source: s.o.Ring.Source().String()}
	if out.Values, err = s.sealed(ctx); err != nil {
		return Status{}, err
	}
	if out.Unreadable, err = s.Unreadable(ctx); err != nil {
		return Status{}, err
	}
	if out.Rotation, err = s.view().KeyRotation(ctx); err != nil {
		return Status{}, err
	}
	out.Keys = slices.DeleteFunc(known, func(k gestor.SealingKey) bool { return k.Status == gestor.KeyDropped })
	for _, k := range out.Keys {
		for _, server := range servers {
			if k.On(server.ID) {
				out.Having[k.ID] = append(out.Having[k.ID], server.Name)
				continue
			}
			out.Lacking[k.ID] = append(out.Lacking[k.ID], server.Name+": "+reason(k, server, statuses))
		}
	}
	out.sum()
	return out, nil
}

// reason is why a server lacks a key.
func reason(k gestor.SealingKey, s gestor.Server, statuses map[gestor.ServerID]*peerv1.GetStatusResponse) string {
	switch {
	case statuses[s.ID] == nil:
		return "it does not answer"
	case k.Confirmed[s.ID] != "":
		return k.Confirmed[s.ID]
	default:
		return "it has not fetched it yet"
	}
}

func (s *Status) sum() {
	for id, n := range s.Values {
		if s.Rotation.KeyID != "" && id != s.Rotation.KeyID {
			s.Remaining += n
		}
	}
	lacking := s.Lacking[s.Rotation.KeyID]
	if s.Rotation.Phase == gestor.RotationSpreading && len(lacking) > 0 {
		s.Waiting = fmt.Sprintf("every server must have the new key first; %d lack it", len(lacking))
		if len(lacking) == 1 {
			s.Waiting = "every server must have the new key first; " + lacking[0]
		}
	}
}
