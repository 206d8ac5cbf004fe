package api

import (
	"context"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/keyring"
)

// Keys are the keys that seal secrets, in the rings of the servers.
type Keys interface {
	Prepare(id string) (key string, discard func(), err error)
	Status(ctx context.Context, statuses map[gestor.ServerID]*peerv1.GetStatusResponse) (keyring.Status, error)
}

// RotateKey begins the change to another key. The key is in this server's ring before the others hear of it.
func (s *ServerService) RotateKey(ctx context.Context, req *gestorv1.RotateKeyRequest) (*gestorv1.RotateKeyResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	key, discard, err := s.deps.Keys.Prepare(req.GetKey())
	if err != nil {
		return nil, err
	}
	receipt, err := r.propose(ctx, req.GetRequestId(), command.RotateKey{KeyID: key, Again: req.GetAgain()})
	if refused(err) || err == nil && receipt.Object != key {
		discard()
	}
	return &gestorv1.RotateKeyResponse{Key: receipt.Object}, err
}

// refused reports whether err says for certain that nothing was changed.
func refused(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindInvalid, fault.KindConflict, fault.KindExists, fault.KindNotFound, fault.KindDenied:
		return err != nil
	default:
		return false
	}
}

// DropKeys drops the keys that were replaced.
func (s *ServerService) DropKeys(ctx context.Context, req *gestorv1.DropKeysRequest) (*gestorv1.DropKeysResponse, error) {
	r, err := platformOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	receipt, err := r.propose(ctx, req.GetRequestId(), command.DropKeys{})
	if err != nil {
		return nil, err
	}
	return &gestorv1.DropKeysResponse{Keys: strings.Split(receipt.Object, ", ")}, nil
}

// GetKeys tells how it stands with the keys.
func (s *ServerService) GetKeys(ctx context.Context, _ *gestorv1.GetKeysRequest) (*gestorv1.GetKeysResponse, error) {
	known, err := s.servers(ctx)
	if err != nil {
		return nil, err
	}
	ids := make([]gestor.ServerID, len(known))
	for i, k := range known {
		ids[i] = k.ID
	}
	status, err := s.deps.Keys.Status(ctx, s.deps.Peers.Statuses(ctx, ids))
	if err != nil {
		return nil, err
	}
	return keysOut(status), nil
}

var keyStatuses = map[gestor.SealingKeyStatus]gestorv1.KeyStatus{
	gestor.KeySpreading: gestorv1.KeyStatus_KEY_STATUS_SPREADING,
	gestor.KeySealing:   gestorv1.KeyStatus_KEY_STATUS_SEALING,
	gestor.KeyOld:       gestorv1.KeyStatus_KEY_STATUS_OLD,
}

func keysOut(s keyring.Status) *gestorv1.GetKeysResponse {
	out := &gestorv1.GetKeysResponse{Unreadable: s.Unreadable, Source: s.Source}
	for _, k := range s.Keys {
		out.Keys = append(out.Keys, &gestorv1.Key{
			Id: k.ID, Status: keyStatuses[k.Status], CreatedAt: timeOut(k.CreatedAt), SealingAt: timeOut(k.SealingAt),
			Values: s.Values[k.ID], Servers: slices.Sorted(slices.Values(s.Having[k.ID])), Lacking: s.Lacking[k.ID],
		})
	}
	if r := s.Rotation; r.Phase != gestor.RotationNone {
		out.Rotation = &gestorv1.KeyRotation{
			Phase: string(r.Phase), Key: r.KeyID, StartedAt: timeOut(r.StartedAt), StartedBy: r.StartedBy, FinishedAt: timeOut(r.FinishedAt),
			Remaining: s.Remaining, Unreadable: r.Unreadable, Waiting: s.Waiting,
		}
	}
	return out
}
