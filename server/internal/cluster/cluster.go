// Package cluster replicates opaque commands with Raft: the log on disk, the snapshots beside it, group commit,
// leadership, and a watchdog over the disk. It knows nothing of what a command says.
//
// Guarantees: a command whose Propose returned without error is on the disks of a majority and applied here; results
// come back by position from the state machine. When Propose returns ErrUnknown (or the caller's ctx ended) the command
// may or may not be applied. A disk that hangs ends the process, since a leader that hangs would never step down.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Machine is the state machine. Its methods are called by one goroutine, except Image.Write.
type Machine interface {
	// Apply applies entries in order and returns the results of each by the position of its commands.
	Apply(entries []Entry) [][]any
	// Applied is the index of the last entry that is in the state. It is called from anywhere.
	Applied() uint64
	// Snapshot holds the state of now.
	Snapshot() (Image, error)
	// Restore replaces the state.
	Restore(r io.Reader) error
}

// Image is a held state on its way into a snapshot.
type Image interface {
	Write(w io.Writer) error
	Release() error
}

// Entry is one committed Raft entry: commands framed as a protobuf message with one repeated bytes field, number 1.
type Entry struct {
	Index uint64
	Data  []byte
}

// Transport reaches the other voters.
type Transport = raft.Transport

// Options configure Open.
type Options struct {
	Dir      string       // where the log and the snapshots live
	ServerID string       // this voter; default "server-1"
	Machine  Machine      // what is replicated
	Log      *slog.Logger // default: none

	// Transport reaches the other voters. Nil is for a single voter: no network at all.
	Transport Transport
	// Join keeps a new server from starting an installation of its own: it waits to be added to one.
	Join bool
	// Heartbeat is the election and heartbeat timeout, 300 ms by default; the leader's lease is half of it.
	Heartbeat time.Duration
	// Stall is how long a call to the log may take before OnStall; 2 s by default.
	Stall time.Duration
	// OnStall is called once when the disk hangs. The default logs and ends the process with code 1.
	OnStall func(call string)
	// SnapshotAfter is how many entries a snapshot is taken after, looked at every second, and half of them stay in the log; as
	// many as suit a server by default.
	SnapshotAfter uint64
	// OnBatch is told how many commands each entry has that this server makes; it must not wait. May be nil.
	OnBatch func(commands int)

	commitTimeout time.Duration // of Raft; its default if 0; for tests
}

// Cluster is this server's part of it.
type Cluster struct {
	raft    *raft.Raft
	store   *store
	batcher *batcher
	reads   *reads

	leaderless leaderless
	deaf       func() // ends its watch
	terms      terms
	told       atomic.Uint64 // what Nudge told of last
	ready      atomic.Uint64 // the term in which this server leads and has applied all of earlier terms; 0 for none
	log        *slog.Logger
	cancel     context.CancelFunc
	done       chan struct{}
}

// What a snapshot is taken after, how often that is looked at, what stays in the log behind it, and how many are kept. A server
// that was killed applies what came after its last snapshot before it serves again, some thousand entries a second at best.
const (
	snapshotThreshold = 16384
	snapshotInterval  = 5 * time.Second
	trailingLogs      = 20480
	retainSnapshots   = 3
)

// Open starts Raft with what is in Dir. At the very first start, and unless Join is set, it makes an installation of
// one voter.
func Open(ctx context.Context, o Options) (*Cluster, error) {
	o = o.withDefaults()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	st, err := openStore(o)
	if err != nil {
		return nil, fmt.Errorf("open cluster: %w", err)
	}
	contacts := newContacts(o.Transport)
	o.Transport = contacts
	r, err := startRaft(o, st, adapter{o.Machine})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open cluster: %w", err), st.Close())
	}
	// The batcher outlives the caller of Open; Close ends it.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &Cluster{raft: r, store: st, batcher: newBatcher(r), log: o.Log, cancel: cancel, done: make(chan struct{})}
	c.batcher.made = o.OnBatch
	c.terms.log = o.Log
	c.deaf = c.leaderless.watch(r)
	c.reads = &reads{
		raft: r, self: raft.ServerID(o.ServerID), contacts: contacts, logs: st.logs, term: c.leadsIn, done: o.Machine.Applied,
	}
	go func() {
		defer close(c.done)
		c.batcher.run(run)
	}()
	return c, nil
}

func (o Options) withDefaults() Options {
	if o.ServerID == "" {
		o.ServerID = "server-1"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Heartbeat == 0 {
		o.Heartbeat = 300 * time.Millisecond
	}
	if o.Stall == 0 {
		o.Stall = 2 * time.Second
	}
	if o.OnStall == nil {
		o.OnStall = func(call string) {
			o.Log.Error("the disk hangs, ending so that another server can lead", "call", call, "after", o.Stall)
			os.Exit(1)
		}
	}
	if o.Transport == nil {
		_, o.Transport = raft.NewInmemTransport(raft.ServerAddress(o.ServerID))
	}
	return o
}

func (o Options) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(o.ServerID)
	c.HeartbeatTimeout = o.Heartbeat
	c.ElectionTimeout = o.Heartbeat
	c.LeaderLeaseTimeout = o.Heartbeat / 2
	if o.commitTimeout > 0 {
		c.CommitTimeout = o.commitTimeout
	}
	c.SnapshotThreshold = snapshotThreshold
	c.SnapshotInterval = snapshotInterval
	c.TrailingLogs = trailingLogs
	if o.SnapshotAfter > 0 {
		c.SnapshotThreshold, c.TrailingLogs, c.SnapshotInterval = o.SnapshotAfter, o.SnapshotAfter/2, time.Second
	}
	c.NoLegacyTelemetry = true
	c.Logger = NewLogger(o.Log)
	return c
}

func startRaft(o Options, st *store, fsm raft.FSM) (*raft.Raft, error) {
	config := o.raftConfig()
	snapshots, err := openSnapshots(o)
	if err != nil {
		return nil, err
	}
	if !o.Join {
		if err := beginAgain(st, snapshots); err != nil {
			return nil, err
		}
	}
	if _, err := newRestorer(o, st, snapshots).restore(); err != nil {
		return nil, err
	}
	config.NoSnapshotRestoreOnStart = true // just done
	known, err := raft.HasExistingState(st.logs, st.stable, snapshots)
	if err != nil {
		return nil, err
	}
	if !known && !o.Join {
		me := raft.Server{ID: config.LocalID, Address: o.Transport.LocalAddr()}
		first := raft.Configuration{Servers: []raft.Server{me}}
		if err := raft.BootstrapCluster(config, st.logs, st.stable, snapshots, o.Transport, first); err != nil {
			return nil, err
		}
	}
	return raft.NewRaft(config, fsm, st.logs, st.stable, snapshots, o.Transport)
}

func openSnapshots(o Options) (*raft.FileSnapshotStore, error) {
	return raft.NewFileSnapshotStoreWithLogger(filepath.Join(o.Dir, "snapshots"), retainSnapshots, NewLogger(o.Log))
}

// Close stops Raft and waits for everything it started. Proposals under way fail.
func (c *Cluster) Close() error {
	c.cancel()
	<-c.done
	err := c.raft.Shutdown().Error()
	c.deaf()
	return errors.Join(err, c.store.Close())
}

// IsLeader reports whether this server leads, as far as it knows.
func (c *Cluster) IsLeader() bool { return c.raft.State() == raft.Leader }

// leads reports whether this server leads and has applied everything of earlier terms.
func (c *Cluster) leads() bool {
	return c.leadsIn() != 0
}

// leadsIn is the term in which this server leads and has applied everything of earlier ones; 0 if it does not.
func (c *Cluster) leadsIn() uint64 {
	term := c.ready.Load()
	if !c.IsLeader() || term != c.raft.CurrentTerm() {
		return 0
	}
	return term
}

// Leader is the id of the server that leads, as far as this one knows; empty if there is none.
func (c *Cluster) Leader() string {
	_, id := c.raft.LeaderWithID()
	return string(id)
}

// Snapshot takes a snapshot now, however short the log is. With nothing new since the last it does nothing.
func (c *Cluster) Snapshot() error {
	err := c.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}

// Ready waits until this server leads and has applied all that was committed before, or knows who leads.
func (c *Cluster) Ready(ctx context.Context) error {
	const look = 5 * time.Millisecond
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if c.IsLeader() && c.raft.Barrier(0).Error() == nil || !c.IsLeader() && c.Leader() != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for a leader: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}
