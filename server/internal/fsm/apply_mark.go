package fsm

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// mark changes nothing; Apply ends its transaction behind it.
func (c *change) mark(op command.Mark) error {
	c.about(op.ID, nil)
	c.marked = true
	return nil
}

const (
	keptMarks = 16 // of which the hashes are kept
	busyMarks = 3  // at a time; each holds a moment of the state
)

// marks are the hashes of the state at the last marks in the log, computed beside Apply.
type marks struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	by   map[uint64]*marked // guarded by mu
	kept []uint64           // guarded by mu; the keys of by, oldest first
	busy int                // guarded by mu
}

// marked is what becomes of one mark.
type marked struct {
	done   chan struct{} // closed once the rest is set
	hashes state.Hashes
	err    error
}

func newMarks() *marks {
	m := &marks{by: map[uint64]*marked{}}
	m.ctx, m.cancel = context.WithCancel(context.Background()) // ends with close
	return m
}

// close ends what is being computed.
func (m *marks) close() {
	m.cancel()
	m.wg.Wait()
}

// add notes a mark; it reports whether there is room to compute its hash.
func (m *marks) add(revision uint64) (*marked, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := &marked{done: make(chan struct{})}
	m.by[revision] = k
	m.kept = append(m.kept, revision)
	if len(m.kept) > keptMarks {
		delete(m.by, m.kept[0])
		m.kept = slices.Delete(m.kept, 0, 1)
	}
	if m.busy == busyMarks || m.ctx.Err() != nil {
		k.err = fault.Exhausted("this server compares its state at too many places at a time").WithFix("check again in a moment")
		close(k.done)
		return k, false
	}
	m.busy++
	return k, true
}

func (m *marks) find(revision uint64) (*marked, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.by[revision]
	return k, ok
}

// mark pins the state of now, which is that of the mark at revision, and has it read beside what follows.
func (f *FSM) mark(ctx context.Context, revision uint64) error {
	k, ok := f.marks.add(revision)
	if !ok {
		return nil
	}
	pin, err := f.store.Pin(ctx)
	if err != nil {
		return err
	}
	f.marks.wg.Go(func() { f.marks.compute(k, pin) }) //nolint:contextcheck // Close of a pin must end it, whatever became of the caller
	return nil
}

func (m *marks) compute(k *marked, pin *state.Pin) {
	k.hashes, k.err = pin.Hashes(m.ctx)
	k.err = errors.Join(k.err, pin.Close())
	close(k.done)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.busy--
}

// Mark waits for the hashes of the state at the mark at revision, which must be applied.
func (f *FSM) Mark(ctx context.Context, revision uint64) (state.Hashes, error) {
	k, ok := f.marks.find(revision)
	if !ok {
		return state.Hashes{}, fault.NotFound("this server did not compare its state at revision %d: it was restarted or caught up since", revision).
			WithFix("check again")
	}
	select {
	case <-k.done:
		return k.hashes, k.err
	case <-ctx.Done():
		return state.Hashes{}, context.Cause(ctx)
	}
}

// Close ends what runs beside Apply. It is called after the last Apply.
func (f *FSM) Close() { f.marks.close() }
