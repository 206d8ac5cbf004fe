package cluster

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"
)

// adapter is a Machine as Raft wants it: many entries at a time.
type adapter struct{ machine Machine }

var _ raft.BatchingFSM = adapter{}

func (a adapter) Apply(l *raft.Log) any { return a.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch answers each command entry with its []any; configurations and checkpoints hold no command.
func (a adapter) ApplyBatch(logs []*raft.Log) []any {
	var entries []Entry
	var at []int
	for i, l := range logs {
		if isCommand(l) {
			entries = append(entries, Entry{Index: l.Index, Data: l.Data})
			at = append(at, i)
		}
	}
	out := make([]any, len(logs))
	if len(entries) == 0 {
		return out
	}
	for i, results := range a.machine.Apply(entries) {
		out[at[i]] = results
	}
	return out
}

// isCommand reports whether an entry is for the machine; checkpoints of the verifier have no data.
func isCommand(l *raft.Log) bool { return l.Type == raft.LogCommand && len(l.Data) > 0 }

func (a adapter) Snapshot() (raft.FSMSnapshot, error) {
	image, err := a.machine.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshot{image}, nil
}

func (a adapter) Restore(r io.ReadCloser) error {
	return errors.Join(a.machine.Restore(r), r.Close())
}

type snapshot struct{ image Image }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.image.Write(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release has nobody to tell: what it holds goes with the process at the latest.
func (s snapshot) Release() { _ = s.image.Release() }
