// Package engine is the one door to replication and state: commands go in through Propose, state comes out through
// View, changes are announced by Watch, and what only the leader does hangs on OnTerm.
//
// The state's database is made anew at every start from the newest snapshot and the log, and never trusted after a
// crash. Revisions are Raft indexes: whoever got a Receipt and then reads here, reads it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Options configure Open. Only Dir is needed.
type Options struct {
	Dir      string       // everything on disk is below it: raft/ is what matters, state/ is made anew
	ServerID string       // this voter; "server-1" by default
	Version  string       // the server's version, for snapshots
	Log      *slog.Logger // default: none

	Transport cluster.Transport // reaches the other voters; nil for one voter
	Join      bool              // wait to be added to an installation instead of making one
	Heartbeat time.Duration     // election timeout; 300 ms by default
	OnStall   func(call string) // what happens when the disk hangs; by default the process ends

	SnapshotAfter uint64           // entries of the log; see cluster.Options
	Now           func() time.Time // the time of the cluster, which is put on what is proposed here; nil leaves that to who proposes

	OnPropose func(took time.Duration, err error) // is told of every Propose; may be nil
	OnBatch   func(commands int)                  // is told of every entry this server makes; may be nil
}

// Engine is replication and state of this server. Its methods may be called at any time from anywhere.
type Engine struct {
	id      string
	cluster *cluster.Cluster
	forward *attended // nil: only the leader can propose
	store   *state.Store
	fsm     *fsm.FSM
	applied *applied
	observe func(took time.Duration, err error) // of Propose; may be nil
	levels  levels
	refuse  func() error
	now     func() time.Time // nil: see Options
	log     *slog.Logger
}

// Open starts the engine. Ready tells when it can be used.
func Open(ctx context.Context, o Options) (*Engine, error) {
	if o.ServerID == "" {
		o.ServerID = "server-1"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	store, err := state.Open(ctx, filepath.Join(o.Dir, "state"))
	if err != nil {
		return nil, fmt.Errorf("open engine: %w", err)
	}
	e := &Engine{id: o.ServerID, store: store, fsm: fsm.New(store, o.Version), applied: newApplied(), observe: o.OnPropose, now: o.Now}
	e.log = o.Log
	e.cluster, err = cluster.Open(ctx, cluster.Options{
		Dir:       filepath.Join(o.Dir, "raft"),
		ServerID:  o.ServerID,
		Machine:   machine{e},
		Log:       o.Log,
		Transport: o.Transport,
		Join:      o.Join,
		Heartbeat: o.Heartbeat,
		OnStall:   o.OnStall,
		OnBatch:   o.OnBatch,

		SnapshotAfter: o.SnapshotAfter,
	})
	if err != nil {
		e.fsm.Close()
		return nil, errors.Join(fmt.Errorf("open engine: %w", err), store.Close())
	}
	e.OnTerm("level", e.keepLevel)
	e.runNext()
	return e, nil
}

// Ready waits until there is a leader and, if it is this server, until it has applied all it had committed. It takes
// an election, about half a second.
func (e *Engine) Ready(ctx context.Context) error { return e.cluster.Ready(ctx) }

// View reads the state of this server within a scope.
func (e *Engine) View(s gestor.Scope) *state.View { return e.store.View(s) }

// Watch announces commits that touch one of tables. The caller closes the subscription.
func (e *Engine) Watch(tables ...state.Table) *state.Subscription { return e.store.Watch(tables...) }

// Version changes with every commit that touches one of tables; see state.Store.Version.
func (e *Engine) Version(tables ...state.Table) uint64 { return e.store.Version(tables...) }

// Wait returns once this server has applied revision.
func (e *Engine) Wait(ctx context.Context, revision uint64) error {
	return e.applied.wait(ctx, revision)
}

// Revision is the last revision this server has applied.
func (e *Engine) Revision() uint64 { return e.applied.last() }

// IsLeader reports whether this server leads, as far as it knows.
func (e *Engine) IsLeader() bool { return e.cluster.IsLeader() }

// OnTerm adds a loop that runs while this server leads; see cluster.Cluster.OnTerm. It is called before Run.
func (e *Engine) OnTerm(name string, run func(ctx context.Context) error) {
	e.cluster.OnTerm(name, run)
}

// ID is this server's id.
func (e *Engine) ID() string { return e.id }

// Leader is the id of the server that leads, as far as this one knows; empty if there is none.
func (e *Engine) Leader() string { return e.cluster.Leader() }

// LastContact is when this server last heard of a leader; now if it leads.
func (e *Engine) LastContact() time.Time { return e.cluster.LastContact() }

// LastIndex is the last entry in this server's log, applied or not.
func (e *Engine) LastIndex() uint64 { return e.cluster.Progress() }

// Leaderless is how long this server has known no leader; 0 while it knows one.
func (e *Engine) Leaderless() time.Duration { return e.cluster.Leaderless() }

// Nudge has followers told at once that revision is committed, where this server leads; see cluster.Cluster.Nudge.
func (e *Engine) Nudge(revision uint64) { e.cluster.Nudge(revision) }

// Stats are the numbers of the replication as of now.
func (e *Engine) Stats() cluster.Stats { return e.cluster.Stats() }

// Members are the servers that replicate, as this one knows them.
func (e *Engine) Members() []cluster.Member { return e.cluster.Members() }

// AddStandby makes a server get every change without a vote, or gives a member another address. Leader only, as are
// the three that follow.
func (e *Engine) AddStandby(id, address string) error { return e.cluster.AddStandby(id, address) }

// Promote gives a standby its vote.
func (e *Engine) Promote(id string) error { return e.cluster.Promote(id) }

// RemoveMember takes a server out of the replication; one that is not in it is fine.
func (e *Engine) RemoveMember(id string) error { return e.cluster.RemoveMember(id) }

// TransferLeader hands leadership to a voter, the most up to date one if id is empty. It returns once this server does
// not lead any more.
func (e *Engine) TransferLeader(id string) error { return e.cluster.TransferLeader(id) }

// Run runs the leader loops until ctx ends, and returns nil then. It is called once.
func (e *Engine) Run(ctx context.Context) error {
	if e.forward == nil {
		return e.cluster.Run(ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return e.cluster.Run(ctx) })
	g.Go(func() error { return e.forward.run(ctx) })
	return g.Wait()
}

// Snapshot takes a snapshot of the state now.
func (e *Engine) Snapshot() error { return e.cluster.Snapshot() }

// StateHash is equal on servers with the same state at the same revision.
func (e *Engine) StateHash(ctx context.Context) (string, error) { return e.store.Hash(ctx) }

// Close stops everything. Run must have returned.
func (e *Engine) Close() error {
	err := e.cluster.Close()
	e.fsm.Close()
	return errors.Join(err, e.store.Close())
}
