package cluster

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
)

// Replayed is what Replay found on disk.
type Replayed struct {
	Snapshot    uint64   // the index of the snapshot it began with; 0 for none
	First, Last uint64   // entries of the log; 0 for none
	Term        uint64   // of the last entry
	Members     []Member // of the newest configuration, committed or not
}

// Replay reads the data of a stopped server through and brings o.Machine to the end of its log, to entries too that may
// not have been committed. It changes nothing that Open would not.
func Replay(o Options) (_ Replayed, err error) {
	o = o.withDefaults()
	if _, err := os.Stat(filepath.Join(o.Dir, "log")); err != nil {
		return Replayed{}, fmt.Errorf("read the log: %w", err)
	}
	st, err := openStore(o)
	if err != nil {
		return Replayed{}, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	snapshots, err := openSnapshots(o)
	if err != nil {
		return Replayed{}, err
	}
	r := Replayed{}
	if r.Snapshot, err = newRestorer(o, st, snapshots).restore(); err != nil {
		return Replayed{}, err
	}
	if err := r.begin(snapshots, st); err != nil {
		return Replayed{}, err
	}
	return r, r.replay(o.Machine, st)
}

// begin takes over what the snapshot says of the members and the term.
func (r *Replayed) begin(snapshots raft.SnapshotStore, st *store) error {
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	for _, m := range list {
		if m.Index == r.Snapshot {
			r.Members, r.Term = members(m.Configuration), m.Term
			break
		}
	}
	if r.First, err = st.logs.FirstIndex(); err != nil {
		return err
	}
	r.Last, err = st.logs.LastIndex()
	return err
}

// replayAtOnce is how many entries go to the machine in one call.
const replayAtOnce = 64

func (r *Replayed) replay(machine Machine, st *store) error {
	var entries []Entry
	for index := max(r.First, 1); index <= r.Last; index++ {
		var l raft.Log
		if err := st.logs.GetLog(index, &l); err != nil {
			return damaged("entry %d of the log cannot be read: %v", index, err)
		}
		if index <= r.Snapshot {
			continue // read to find out that it can be
		}
		r.Term = l.Term
		if l.Type == raft.LogConfiguration {
			r.Members = members(raft.DecodeConfiguration(l.Data))
		}
		if isCommand(&l) {
			entries = append(entries, Entry{Index: l.Index, Data: l.Data})
		}
		if len(entries) == replayAtOnce || index == r.Last && len(entries) > 0 {
			if err := apply(machine, entries); err != nil {
				return err
			}
			entries = nil
		}
	}
	return nil
}

// apply turns the panic of a machine that cannot go on into an error.
func apply(machine Machine, entries []Entry) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("entries %d to %d of the log: %v", entries[0].Index, entries[len(entries)-1].Index, p)
		}
	}()
	machine.Apply(entries)
	return nil
}

func members(c raft.Configuration) []Member {
	var out []Member
	for _, s := range c.Servers {
		out = append(out, Member{ID: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter})
	}
	return out
}

// Seed is a state from which a cluster of one voter begins.
type Seed struct {
	Dir   string // like Options.Dir; must not exist
	Voter Member
	Index uint64 // at which the state is
	Term  uint64 // of that entry
	Write func(w io.Writer) error
}

// Plant makes the data of a server that is the only voter, with the seed as its newest snapshot and an empty log.
func Plant(s Seed) (err error) {
	if err := os.Mkdir(s.Dir, 0o700); err != nil {
		return err
	}
	o := Options{Dir: s.Dir, ServerID: s.Voter.ID}.withDefaults()
	st, err := openStore(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	// Raft elects with the term after the one it knows, which must not be below the snapshot's.
	if err := st.stable.SetUint64(currentTerm, s.Term); err != nil {
		return err
	}
	snapshots, err := openSnapshots(o)
	if err != nil {
		return err
	}
	only := raft.Configuration{Servers: []raft.Server{{ID: raft.ServerID(s.Voter.ID), Address: raft.ServerAddress(s.Voter.Address)}}}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, s.Index, s.Term, only, 1, o.Transport)
	if err != nil {
		return err
	}
	if err := s.Write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}
