// Package fsm is the state machine: it applies committed batches of commands to the state, each batch of entries in
// one transaction and each command in a savepoint of it, and makes and reads snapshots.
//
// It is a pure function of state and entry: no clock but a command's At, no randomness, and no files or network but
// in snapshot.go and apply_mark.go. A command that the state of things forbids is refused: it changes nothing, and its result is the same
// *fault.Error on every server, and so is one whose values or rows have no place in the tables. An entry that cannot be decoded, an op this server does not know, and a database that
// fails stop the program by a panic, because going on would part this server's state from the others'.
// DESIGN.md says what the commands mean.
package fsm

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// FSM applies entries to a store. Apply, Snapshot and Restore are called by one goroutine.
type FSM struct {
	store   *state.Store
	version string
	marks   *marks
}

// New is the state machine over store; version is the server's, for the headers of snapshots. The caller closes it,
// before the store.
func New(store *state.Store, version string) *FSM {
	return &FSM{store: store, version: version, marks: newMarks()}
}

// Entry is one committed Raft entry, a gestor.raft.v1.Batch.
type Entry struct {
	Index uint64
	Data  []byte
}

// Result is what became of one command.
type Result struct {
	Receipt command.Receipt
	Err     error // nil or a *fault.Error
}

// ApplyError is what Apply panics with when the database fails.
type ApplyError struct {
	Index uint64
	Err   error
}

// Error says at which entry.
func (e *ApplyError) Error() string { return fmt.Sprintf("apply entry %d: %v", e.Index, e.Err) }

// Unwrap is what the database said.
func (e *ApplyError) Unwrap() error { return e.Err }

// Apply applies entries in one transaction, which is committed when it returns; one that holds a mark ends a
// transaction, so that the state is the same there on every server, however entries come together. Results are by
// entry and by the position of the command in it.
func (f *FSM) Apply(entries []Entry) [][]Result {
	ctx := context.Background() // a committed entry has no caller who could call it off
	results := make([][]Result, 0, len(entries))
	for len(results) < len(entries) {
		results = append(results, f.applySome(ctx, entries[len(results):])...)
	}
	return results
}

// applySome applies entries up to the first that holds a mark.
func (f *FSM) applySome(ctx context.Context, entries []Entry) [][]Result {
	x, err := f.store.Begin(ctx)
	if err != nil {
		panic(&ApplyError{Index: entries[0].Index, Err: err})
	}
	var results [][]Result
	var last uint64
	marked := false
	for _, e := range entries {
		x.Revision, last = e.Index, e.Index
		var r []Result
		r, marked = applyEntry(ctx, x, e)
		results = append(results, r)
		if marked {
			break
		}
	}
	err = x.Commit(ctx, last)
	if err == nil && marked {
		err = f.mark(ctx, last)
	}
	if err != nil {
		panic(&ApplyError{Index: last, Err: err})
	}
	return results
}

// applyEntry reports whether the entry holds a mark.
func applyEntry(ctx context.Context, x *state.Txn, e Entry) (results []Result, marked bool) {
	var batch raftv1.Batch
	if err := proto.Unmarshal(e.Data, &batch); err != nil {
		panic(fmt.Sprintf("apply entry %d: it is no batch of commands: %v", e.Index, err))
	}
	results = make([]Result, len(batch.GetCommands()))
	for i, m := range batch.GetCommands() {
		c, err := command.Decode(m)
		if err != nil {
			panic(fmt.Sprintf("apply entry %d: %v; a newer server wrote it, upgrade this one", e.Index, err))
		}
		var mark bool
		if results[i], mark, err = applyCommand(ctx, x, e.Index, c); err != nil {
			panic(&ApplyError{Index: e.Index, Err: fmt.Errorf("%T: %w", c.Op, err)})
		}
		marked = marked || mark
	}
	return results, marked
}

// applyCommand applies c unless its request was applied before, and reports whether it is a mark. An error is a failure
// of the store.
func applyCommand(ctx context.Context, x *state.Txn, index uint64, c command.Command) (_ Result, marked bool, err error) {
	if c.RequestID != "" {
		r, found, err := x.RequestByID(ctx, c.Actor.TenantID, c.RequestID)
		if err != nil {
			return Result{}, false, err
		}
		if found {
			return resultOf(r), false, nil
		}
	}
	ch := &change{Txn: x, ctx: ctx, index: index, at: c.At, actor: c.Actor, tenant: c.Actor.TenantID}
	if err := x.Save(ctx); err != nil {
		return Result{}, false, err
	}
	refusal, err := ch.run(c.Op)
	if err != nil {
		return Result{}, false, err
	}
	if err := ch.record(c, refusal); err != nil {
		return Result{}, false, err
	}
	return result(command.Receipt{Revision: index, Object: ch.object}, refusal), ch.marked, nil
}

// run applies op, keeps what it did, or takes it back if it was refused.
func (c *change) run(op command.Op) (*fault.Error, error) {
	err := c.checkLevel(op)
	if err == nil {
		err = c.mayAct(op)
	}
	if err == nil {
		err = c.apply(op)
	}
	if err == nil {
		return nil, c.Keep(c.ctx)
	}
	if state.IsUnfit(err) {
		return unfit(err), c.Undo(c.ctx)
	}
	refusal, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return nil, err
	}
	return refusal, c.Undo(c.ctx)
}

// unfit is for a command that nobody foresaw, which the apply functions should have refused. Every server must refuse it: it
// is in the log, and whoever stopped at it would stop again at every start.
func unfit(err error) *fault.Error {
	refusal := fault.Error{Kind: fault.KindInternal, Message: "this has no place in the state of the installation"}
	return refusal.WithFix("look whether a name or an id is in use already").WithCause(err)
}

// record remembers the request and writes the audit entry.
func (c *change) record(cmd command.Command, refusal *fault.Error) error {
	if cmd.RequestID != "" {
		err := c.PutRequest(c.ctx, state.Request{
			TenantID: cmd.Actor.TenantID,
			ID:       cmd.RequestID,
			At:       c.at,
			Revision: c.index,
			Object:   c.object,
			Refusal:  refusal,
		})
		if err != nil {
			return err
		}
	}
	if cmd.Actor.Action == "" {
		return nil
	}
	return c.audit(cmd, refusal)
}

func resultOf(r state.Request) Result {
	return result(command.Receipt{Revision: r.Revision, Object: r.Object}, r.Refusal)
}

func result(r command.Receipt, refusal *fault.Error) Result {
	if refusal != nil {
		return Result{Err: refusal}
	}
	return Result{Receipt: r}
}
