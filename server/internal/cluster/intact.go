package cluster

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// restorer is what reads a snapshot into the state machine at the start. Raft would do so itself, but goes on to an
// older snapshot whatever is wrong with the newest, also if the log does not reach back that far.
type restorer struct {
	dir       string // of the snapshots
	snapshots raft.SnapshotStore
	logs      raft.LogStore
	machine   interface{ Restore(r io.Reader) error }
	log       *slog.Logger
	begun     bool // there must be something
}

func newRestorer(o Options, st *store, snapshots raft.SnapshotStore) restorer {
	term, err := st.stable.GetUint64(currentTerm)
	return restorer{
		begun: err == nil && term > 0 && !o.Join,
		dir:   filepath.Join(o.Dir, "snapshots", "snapshots"), snapshots: snapshots, logs: st.logs, machine: o.Machine, log: o.Log,
	}
}

// Names under which Raft keeps numbers.
var currentTerm, lastVoteTerm = []byte("CurrentTerm"), []byte("LastVoteTerm")

// beginAgain makes a first start possible again whose process ended after it had written the first term, and before it had
// written the first entry. Nothing can have happened in that term: the first election is for the next.
func beginAgain(st *store, snapshots raft.SnapshotStore) error {
	term, err := st.stable.GetUint64(currentTerm)
	if err != nil || term != 1 {
		return nil //nolint:nilerr // there is none
	}
	if vote, err := st.stable.GetUint64(lastVoteTerm); err == nil && vote > 0 {
		return nil
	}
	last, err := st.logs.LastIndex()
	if err != nil || last > 0 {
		return err
	}
	list, err := snapshots.List()
	if err != nil || len(list) > 0 {
		return err
	}
	return st.stable.SetUint64(currentTerm, 0)
}

// restore restores the newest snapshot. If that is damaged and an older one with the log has everything, it takes that,
// and puts the damaged one aside. It returns the index up to which the machine is.
func (r restorer) restore() (uint64, error) {
	ids, err := snapshotIDs(r.dir)
	if err != nil {
		return 0, err
	}
	list, err := r.snapshots.List()
	if err != nil {
		return 0, err
	}
	var broken []string
	needed := uint64(0) // the log must reach back to the snapshot, and on to here
	for _, id := range ids {
		meta := find(list, id)
		if meta == nil {
			broken = append(broken, id)
			needed = max(needed, indexOf(id))
			continue
		}
		_, source, err := r.snapshots.Open(id)
		if err != nil {
			r.log.Error("a snapshot is damaged", "snapshot", id, "err", err)
			broken = append(broken, id)
			needed = max(needed, meta.Index)
			continue
		}
		if err := errors.Join(r.machine.Restore(source), source.Close()); err != nil {
			return 0, fmt.Errorf("snapshot %s: %w", filepath.Join(r.dir, id), err)
		}
		if err := r.checkLog(meta.Index, needed); err != nil {
			return 0, err
		}
		return meta.Index, errors.Join(r.dropOld(meta.Index), r.putAside(broken))
	}
	return 0, errors.Join(r.checkLog(0, needed), r.putAside(broken))
}

// checkLog finds out whether the log has everything behind index.
func (r restorer) checkLog(index, needed uint64) error {
	first, err := r.logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := r.logs.LastIndex()
	if err != nil {
		return err
	}
	switch {
	case last > index && first > index+1:
		return damaged("the newest whole snapshot in %s ends at %d, but the log begins at %d: what is between is lost", r.dir, index, first)
	case last == 0 && index == 0 && r.begun:
		return damaged("this server has taken part in elections, but the log in %s is empty and there is no snapshot", filepath.Dir(filepath.Dir(r.dir)))
	case last < needed:
		return damaged("the snapshot of %d in %s cannot be read, and the log ends at %d", needed, r.dir, last)
	}
	return nil
}

// dropOld removes a log that ends before the snapshot: the process ended between getting the snapshot from the leader and
// that. The log library would refuse every entry from then on, because it takes no gap.
func (r restorer) dropOld(index uint64) error {
	first, err := r.logs.FirstIndex()
	if err != nil {
		return err
	}
	last, err := r.logs.LastIndex()
	if err != nil || last == 0 || last >= index {
		return err
	}
	r.log.Info("removed a log that ends before the snapshot", "first", first, "last", last, "snapshot", index)
	return r.logs.DeleteRange(first, last)
}

// putAside moves damaged snapshots out of Raft's sight.
func (r restorer) putAside(broken []string) error {
	if len(broken) == 0 {
		return nil
	}
	aside := filepath.Join(filepath.Dir(filepath.Dir(r.dir)), "damaged-snapshots")
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	for _, id := range broken {
		r.log.Warn("a damaged snapshot was put aside; an older one and the log have everything", "snapshot", id, "to", aside)
		target := filepath.Join(aside, id)
		if err := errors.Join(os.RemoveAll(target), os.Rename(filepath.Join(r.dir, id), target)); err != nil {
			return err
		}
	}
	return nil
}

// snapshotIDs are all finished snapshots in dir, readable or not, the newest first.
func snapshotIDs(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") {
			ids = append(ids, e.Name())
		}
	}
	sortByIndex(ids)
	return ids, nil
}

func find(list []*raft.SnapshotMeta, id string) *raft.SnapshotMeta {
	for _, m := range list {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// indexOf is the index in a snapshot's id, "<term>-<index>-<milliseconds>".
func indexOf(id string) uint64 { return numbersOf(id)[1] }

func numbersOf(id string) (n [3]uint64) {
	for i, part := range strings.SplitN(id, "-", len(n)) {
		n[i], _ = strconv.ParseUint(part, 10, 64) // 0 for what is no snapshot of Raft's
	}
	return n
}

// sortByIndex puts the newest first, as Raft does.
func sortByIndex(ids []string) {
	slices.SortFunc(ids, func(a, b string) int {
		x, y := numbersOf(a), numbersOf(b)
		return slices.Compare(y[:], x[:])
	})
}
