package engine

import (
	"context"
	"io"
	"os"
	"sync"

	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/fsm"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// machine is the state machine as cluster wants it, which knows nothing of commands.
type machine struct{ engine *Engine }

func (m machine) Apply(entries []cluster.Entry) [][]any {
	in := make([]fsm.Entry, len(entries))
	for i, e := range entries {
		in[i] = fsm.Entry(e)
	}
	defer m.engine.endIfFull()
	out := make([][]any, len(entries))
	for i, results := range m.engine.fsm.Apply(in) {
		out[i] = make([]any, len(results))
		for j, r := range results {
			out[i][j] = r
		}
	}
	m.engine.applied.set(entries[len(entries)-1].Index)
	return out
}

// endIfFull ends the process when the disk is full: a committed entry that cannot be applied cannot be passed over either.
// Nothing is lost, the log has it.
func (e *Engine) endIfFull() {
	p := recover()
	if p == nil {
		return
	}
	if f, ok := p.(*fsm.ApplyError); ok && state.IsFull(f) {
		e.log.Error("the disk is full, ending: free space on it and start again, nothing that was acknowledged is lost", "err", f)
		os.Exit(1)
	}
	panic(p)
}

func (m machine) Applied() uint64 { return m.engine.applied.last() }

func (m machine) Snapshot() (cluster.Image, error) { return m.engine.fsm.Snapshot() }

func (m machine) Restore(r io.Reader) error {
	if err := m.engine.fsm.Restore(r); err != nil {
		return err
	}
	index, err := m.engine.store.Applied(context.Background()) // Raft restores without a caller
	if err != nil {
		return err
	}
	m.engine.applied.set(index)
	return nil
}

// applied is the last index that is in the state.
type applied struct {
	mu      sync.Mutex
	index   uint64        // guarded by mu
	changed chan struct{} // guarded by mu; closed when index grows
}

func newApplied() *applied { return &applied{changed: make(chan struct{})} }

func (a *applied) set(index uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index = index
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *applied) last() uint64 {
	index, _ := a.get()
	return index
}

func (a *applied) get() (uint64, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.index, a.changed
}

func (a *applied) wait(ctx context.Context, index uint64) error {
	for {
		now, changed := a.get()
		if now >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
