package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/server/internal/rescue"
)

// OfflineOptions are for work on the data of a stopped server.
type OfflineOptions struct {
	DataDir string
	Keys    Keys // where else than in the data directory the key ring may be
	Version string
	Out     io.Writer // people read it
	Log     *slog.Logger
	Confirm func() (bool, error) // asked before anything changes; nil: do it
}

// open takes the data directory of a server that has been one before, and reads who it was.
func (o OfflineOptions) open() (*dirLock, identity, error) {
	if !exists(filepath.Join(o.DataDir, "raft")) {
		return nil, identity{}, fmt.Errorf("%s holds no data of a server; name its data directory with --data-dir", o.DataDir)
	}
	lock, err := takeDir(o.DataDir)
	if err != nil {
		return nil, identity{}, err
	}
	id, err := o.identity()
	if err != nil {
		return nil, identity{}, errors.Join(err, lock.Close())
	}
	return lock, id, nil
}

func (o OfflineOptions) identity() (identity, error) {
	ring, err := o.Keys.places(o.DataDir).Load()
	if err != nil {
		return identity{}, fmt.Errorf("%w; every server of the cluster has the same ring, and a copy belongs into a safe place", err)
	}
	return openIdentity(o.DataDir, ring, Config{DataDir: o.DataDir}, time.Now())
}

// Recover makes a stopped server whose cluster has lost its majority for good the only voter of the cluster.
func Recover(ctx context.Context, o OfflineOptions) (err error) {
	lock, id, err := o.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := o.say(`This makes server %s the only one of cluster %s, with what it has.

  - Changes that the lost servers had acknowledged and not yet sent here are lost.
  - Changes that are here and were never acknowledged will count.
  - No other server of the cluster may ever be started again with its old data: there would be two clusters.
`, id.server, id.cluster.ID); err != nil {
		return err
	}
	if o.Confirm != nil {
		if yes, err := o.Confirm(); err != nil || !yes {
			return errors.Join(err, errors.New("nothing was changed"))
		}
	}
	// First: should this be interrupted, the lost servers must still find nobody to talk to.
	if err := renewIncarnation(o.DataDir); err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	done, err := rescue.Recover(ctx, o.DataDir, o.Version, id.server, o.Log, time.Now())
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	for _, m := range done.Was.Members {
		if m.ID != id.server {
			if err := o.say("removed from the cluster: server %s at %s\n", m.ID, m.Address); err != nil {
				return err
			}
		}
	}
	return o.say(`
Recovered everything up to revision %d (log entry %d); the cluster goes on at revision %d.
The data of before is kept in %s; remove it once all is well.

Start gestor-server now, then add new servers: gestor servers add
`, done.Had, max(done.Was.Last, done.Was.Snapshot), done.Revision, done.Kept)
}

// Check reads the data of a stopped server through and says what is damaged. It returns an error if something is.
func Check(ctx context.Context, o OfflineOptions) (err error) {
	lock, id, err := o.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if err := o.say("identity  whole: server %s of cluster %s; the key ring opens the roots\n", id.server, id.cluster.ID); err != nil {
		return err
	}
	found, err := rescue.Check(ctx, o.DataDir, o.Version, id.server, o.Log)
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if found.Cluster.ID != id.cluster.ID {
		return fmt.Errorf("the state is of cluster %s, the identity of %s: the directory was put together from two; "+
			"restore %s from where it came, or let this server join again with an empty directory", found.Cluster.ID, id.cluster.ID, identityFile)
	}
	was := found.Was
	return o.say(`snapshot  whole: up to entry %d
log       whole: entries %d to %d, term %d
state     revision %d, level %d, hash %s
members   %d in the newest configuration
`, was.Snapshot, was.First, was.Last, was.Term, found.Revision, found.Level, found.Hash, len(was.Members))
}

func (o OfflineOptions) say(format string, args ...any) error {
	_, err := fmt.Fprintf(o.Out, format, args...)
	return err
}

// Confirm asks on a terminal; elsewhere nobody can answer, and --yes is needed.
func Confirm(in *os.File, out io.Writer) (bool, error) {
	info, err := in.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false, errors.New("there is no terminal to ask at; say --yes")
	}
	if _, err := fmt.Fprint(out, "\nType yes to go on: "); err != nil {
		return false, err
	}
	var answer string
	if _, err := fmt.Fscanln(in, &answer); err != nil {
		return false, err
	}
	return answer == "yes", nil
}
