// Package rescue works on the data of stopped servers: it makes the data of a new cluster out of a backup or out of what
// one survivor has, and reads through what is there. It never runs beside a server of the same directory; its callers see
// to that by the directory's lock.
//
// A cluster that begins anew counts on from far above the revision it begins at. The old one may have gone further than
// what was saved, and agents hold the revisions of what it assigned to them as fences: no number may ever come twice.
package rescue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Leap is what a cluster that begins anew adds to its revision: no cluster writes that much between two backups.
const Leap = 1 << 40

// firstTerm is the Raft term of a cluster that begins anew.
const firstTerm = 1

// workbench is a state machine for the work at hand, in a directory of its own beside the data, so that it has room
// where the data has.
type workbench struct {
	dir   string
	store *state.Store
	fsm   *fsm.FSM
}

func openWorkbench(ctx context.Context, dataDir, version string) (*workbench, error) {
	dir, err := os.MkdirTemp(dataDir, ".rescue-*")
	if err != nil {
		return nil, err
	}
	store, err := state.Open(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &workbench{dir: dir, store: store, fsm: fsm.New(store, version)}, nil
}

func (w *workbench) close() error {
	w.fsm.Close()
	return errors.Join(w.store.Close(), os.RemoveAll(w.dir))
}

// renew makes the state that of a cluster of one server: the only one it keeps or, where that is new, gets.
func (w *workbench) renew(ctx context.Context, only gestor.Server) (revision uint64, err error) {
	revision, err = w.store.Applied(ctx)
	if err != nil {
		return 0, err
	}
	x, err := w.store.Begin(ctx)
	if err != nil {
		return 0, err
	}
	revision += Leap
	x.Revision = revision
	err = x.ForgetServers(ctx, string(only.ID))
	if _, known := x.Server(ctx, only.ID); err == nil && errors.Is(known, fault.KindNotFound) {
		err = x.PutServer(ctx, only)
	}
	if err != nil {
		return 0, errors.Join(err, x.Rollback(ctx))
	}
	return revision, x.Commit(ctx, revision)
}

func (w *workbench) write(out io.Writer) error {
	s, err := w.fsm.Snapshot()
	if err != nil {
		return err
	}
	return errors.Join(s.Write(out), s.Release())
}

// fresh is where the data of the new cluster is until it is complete.
const fresh = "raft.new"

// prepare writes the state as the data of the cluster's only voter beside where it belongs.
func (w *workbench) prepare(dir string, voter cluster.Member, revision uint64) error {
	path := filepath.Join(dir, fresh)
	if err := os.RemoveAll(path); err != nil { // what an attempt before left
		return err
	}
	seed := cluster.Seed{Dir: path, Voter: voter, Index: revision, Term: firstTerm, Write: w.write}
	return errors.Join(cluster.Plant(seed), syncDir(dir))
}

// adopt puts what was prepared where it belongs.
func adopt(dir string) error {
	return errors.Join(os.Rename(filepath.Join(dir, fresh), filepath.Join(dir, "raft")), syncDir(dir))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Restored is what a backup held.
type Restored struct {
	Cluster  gestor.Cluster
	Revision uint64 // at which the new cluster begins
}

// Restore makes dir/raft from the snapshot that r reads, for a cluster whose only voter is voter. ready is called with
// what the snapshot holds before anything is written.
func Restore(ctx context.Context, dir string, voter gestor.Server, r io.Reader, ready func(gestor.Cluster) error) (_ Restored, err error) {
	w, err := openWorkbench(ctx, dir, voter.Version)
	if err != nil {
		return Restored{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.fsm.Restore(r); err != nil { //nolint:contextcheck // Raft restores without a caller, and so does this
		return Restored{}, err
	}
	c, err := w.store.View(gestor.SystemScope()).Cluster(ctx)
	if err != nil {
		return Restored{}, fmt.Errorf("the backup holds no installation: %w", err)
	}
	if err := ready(c); err != nil {
		return Restored{}, err
	}
	revision, err := w.renew(ctx, voter)
	if err != nil {
		return Restored{}, err
	}
	if err := w.prepare(dir, cluster.Member{ID: string(voter.ID), Address: voter.PeerAddress}, revision); err != nil {
		return Restored{}, err
	}
	return Restored{Cluster: c, Revision: revision}, adopt(dir)
}

// Recovered is what was made of a survivor's data.
type Recovered struct {
	Was      cluster.Replayed
	Had      uint64 // the last revision in its state
	Revision uint64 // at which the new cluster begins
	Kept     string // where its data of before is
}

// Recover makes the server in dir, which was one of several, the only voter of a cluster that begins with everything in
// its log, also what may not have been committed. The data of before is kept beside it.
func Recover(ctx context.Context, dir, version, server string, log *slog.Logger, now time.Time) (_ Recovered, err error) {
	w, err := openWorkbench(ctx, dir, version)
	if err != nil {
		return Recovered{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	out := Recovered{Kept: filepath.Join(dir, "raft.before-"+now.UTC().Format("20060102T150405Z"))}
	if out.Was, err = w.replay(dir, server, log); err != nil {
		return Recovered{}, err
	}
	if out.Had, err = w.store.Applied(ctx); err != nil {
		return Recovered{}, err
	}
	voter, ok := member(out.Was.Members, server)
	if !ok {
		return Recovered{}, fault.Conflict("this server was removed from the cluster before").WithFix("recover another survivor, or restore a backup: gestor-server restore")
	}
	self := gestor.Server{ID: gestor.ServerID(server), Name: "recovered", PeerAddress: voter.Address, Version: version, Level: command.Level, CreatedAt: now}
	if out.Revision, err = w.renew(ctx, self); err != nil {
		return Recovered{}, err
	}
	if err := w.prepare(dir, voter, out.Revision); err != nil {
		return Recovered{}, err
	}
	if err := os.Rename(filepath.Join(dir, "raft"), out.Kept); err != nil {
		return Recovered{}, err
	}
	return out, adopt(dir)
}

func member(all []cluster.Member, id string) (cluster.Member, bool) {
	for _, m := range all {
		if m.ID == id {
			return m, true
		}
	}
	return cluster.Member{}, false
}

// Report is what reading through a stopped server's data found.
type Report struct {
	Was      cluster.Replayed
	Revision uint64
	Level    uint32
	Hash     string
	Cluster  gestor.Cluster
}

// Check reads the log, the snapshots and the state they lead to.
func Check(ctx context.Context, dir, version, server string, log *slog.Logger) (_ Report, err error) {
	w, err := openWorkbench(ctx, dir, version)
	if err != nil {
		return Report{}, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	var out Report
	if out.Was, err = w.replay(dir, server, log); err != nil {
		return Report{}, err
	}
	if out.Revision, err = w.store.Applied(ctx); err != nil {
		return Report{}, err
	}
	if out.Level, err = w.store.Level(ctx); err != nil {
		return Report{}, err
	}
	if out.Cluster, err = w.store.View(gestor.SystemScope()).Cluster(ctx); err != nil {
		return Report{}, err
	}
	out.Hash, err = w.store.Hash(ctx)
	return out, err
}

func (w *workbench) replay(dir, server string, log *slog.Logger) (cluster.Replayed, error) {
	return cluster.Replay(cluster.Options{Dir: filepath.Join(dir, "raft"), ServerID: server, Machine: machine{w}, Log: log})
}

// machine is the state machine as cluster wants it.
type machine struct{ w *workbench }

func (m machine) Apply(entries []cluster.Entry) [][]any {
	in := make([]fsm.Entry, len(entries))
	for i, e := range entries {
		in[i] = fsm.Entry(e)
	}
	m.w.fsm.Apply(in)
	return nil
}

func (m machine) Applied() uint64                  { return 0 }
func (m machine) Snapshot() (cluster.Image, error) { return m.w.fsm.Snapshot() }
func (m machine) Restore(r io.Reader) error        { return m.w.fsm.Restore(r) }
