// Package keyring keeps the key rings of the control servers in step: which key seals is decided in the state, by its id;
// the keys themselves go from ring to ring over the peer port, to servers that the state knows, and are in no command, no
// snapshot and no backup.
//
// A new key seals once every server has said that it is on its disk. The leader then seals anew, a batch of compare-and-set
// commands at a time, everything that is sealed with another. Whoever leads goes on where the one before stopped, because
// all that must be known is in the state. A key that was replaced is dropped by a person, after which each server moves it
// into a file of retired keys: it deletes none.
//
// What cannot be read because its key is lost is counted and named, and stays as it is.
package keyring

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what the package needs of replication and state.
type Engine interface {
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	Wait(ctx context.Context, revision uint64) error
	View(s gestor.Scope) *state.View
	Watch(tables ...state.Table) *state.Subscription
	Version(tables ...state.Table) uint64
	Level(ctx context.Context) (uint32, error)
}

// Options are what a Service is made of. All is needed but Log and Times.
type Options struct {
	Engine Engine
	Port   *peer.Port
	Ring   *secret.Ring
	Self   gestor.ServerID
	// Local seals anew, with the ring's key, what this server keeps beside the state. It is called before a key goes.
	Local func() error
	// Known is what this server knows without the state, by the place it is sealed for: the roots' keys, which can be sealed
	// anew although the key that sealed them is lost.
	Known func(place string) ([]byte, bool)
	Look  time.Duration // after which the loops look again although nothing has changed; 5 s if 0
	Log   *slog.Logger  // nil discards
}

// Service is one server's part in it. RunTerm is a leader loop; Run runs on every server.
type Service struct {
	o Options

	mu     sync.Mutex
	counts map[string]int64 // guarded by mu; by key
	at     uint64           // guarded by mu; the version of the tables that counts are of
	fresh  bool             // guarded by mu
}

var _ peerv1connect.KeyServiceHandler = (*Service)(nil)

// New makes a Service.
func New(o Options) *Service {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Look == 0 {
		o.Look = 5 * time.Second
	}
	return &Service{o: o}
}

func (s *Service) view() *state.View { return s.o.Engine.View(gestor.SystemScope()) }

// propose proposes in the name of the loops and returns once this server has applied it.
func (s *Service) propose(ctx context.Context, op command.Op) error {
	receipt, err := s.o.Engine.Propose(ctx, command.Command{At: time.Now(), Actor: gestor.SystemActor("keys"), Op: op})
	if err != nil {
		return err
	}
	return s.o.Engine.Wait(ctx, receipt.Revision)
}

// FetchKeys hands keys to another server. One that the state does not know was removed, or never was one.
func (s *Service) FetchKeys(ctx context.Context, req *peerv1.FetchKeysRequest) (*peerv1.FetchKeysResponse, error) {
	caller := gestor.ServerID(peer.Caller(ctx))
	if _, err := s.view().Server(ctx, caller); err != nil {
		if errors.Is(err, fault.KindNotFound) {
			return nil, fault.Denied("server %s is none of this cluster, it gets no keys", caller)
		}
		return nil, err
	}
	out := &peerv1.FetchKeysResponse{}
	for _, id := range req.GetKeyIds() {
		if k, ok := s.o.Ring.Export(id); ok {
			out.Keys = append(out.Keys, &peerv1.SealingKey{Id: k.ID, Key: k.Raw})
		}
	}
	return out, nil
}

// Unreadable is how many values of the state this server cannot read, by the id of the key that its ring lacks.
func (s *Service) Unreadable(ctx context.Context) (map[string]int64, error) {
	counts, err := s.sealed(ctx)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(counts, func(id string, _ int64) bool { return s.o.Ring.Has(id) })
	return counts, nil
}

// sealed counts the sealed values by key; it reads them again only when they have changed. The map is the caller's.
func (s *Service) sealed(ctx context.Context) (map[string]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.o.Engine.Version(state.SealedTables())
	if !s.fresh || s.at != now {
		counts, err := s.view().SealedCounts(ctx)
		if err != nil {
			return nil, err
		}
		s.counts, s.at, s.fresh = counts, now, true
	}
	return maps.Clone(s.counts), nil
}

// Check is an error if this server cannot read all there is; its text may be known to everybody.
func (s *Service) Check(ctx context.Context) error {
	missing, err := s.Unreadable(ctx)
	if err != nil || len(missing) == 0 {
		return err
	}
	var n int64
	for _, count := range missing {
		n += count
	}
	return fmt.Errorf("%d secret values cannot be read here: the key ring lacks the key %s; put it back from the copy that was kept, or set the values anew",
		n, strings.Join(slices.Sorted(maps.Keys(missing)), ", "))
}

// Notice is Check for people; empty when all is well.
func (s *Service) Notice() string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // whoever asks has no context to give
	defer cancel()
	if err := s.Check(ctx); err != nil {
		return err.Error()
	}
	return ""
}
