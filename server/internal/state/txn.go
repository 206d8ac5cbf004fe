package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Txn is one transaction that writes. Its View reads within it, everything. Nothing of it is seen by others before
// Commit. It belongs to one goroutine.
type Txn struct {
	View

	// Revision is the Raft index that rows written from now on carry.
	Revision uint64

	store   *Store
	db      *database
	touched Table
	raised  uint32 // the level this transaction brought the state to; 0 if it did not
	saved   struct {
		touched Table
		raised  uint32
	} // at the savepoint
}

// Begin starts the only transaction there is at the time.
func (s *Store) Begin(ctx context.Context) (*Txn, error) {
	x := &Txn{store: s, db: s.current()}
	x.View = View{from: x, scope: gestor.SystemScope()}
	if err := x.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return x, nil
}

// Commit ends the transaction, records applied as the last Raft index in the state and signals subscriptions.
func (x *Txn) Commit(ctx context.Context, applied uint64) error {
	err := x.exec(ctx, "UPDATE meta SET applied = ? WHERE id = 1", int64(applied))
	if err == nil {
		err = x.exec(ctx, "COMMIT")
	}
	if err != nil {
		return errors.Join(fmt.Errorf("commit: %w", err), x.Rollback(ctx))
	}
	if x.raised > 0 {
		x.db.level.Store(x.raised)
	}
	x.store.hub.publish(x.touched)
	return nil
}

// Rollback ends the transaction without a trace.
func (x *Txn) Rollback(ctx context.Context) error { return x.exec(ctx, "ROLLBACK") }

// Save marks where Undo goes back to.
func (x *Txn) Save(ctx context.Context) error {
	x.saved.touched, x.saved.raised = x.touched, x.raised
	return x.exec(ctx, "SAVEPOINT command")
}

// Keep forgets the mark and keeps what was written since.
func (x *Txn) Keep(ctx context.Context) error { return x.exec(ctx, "RELEASE command") }

// Undo takes back what was written since Save.
func (x *Txn) Undo(ctx context.Context) error {
	x.touched, x.raised = x.saved.touched, x.saved.raised
	if err := x.exec(ctx, "ROLLBACK TO command"); err != nil {
		return err
	}
	return x.exec(ctx, "RELEASE command")
}

func (x *Txn) touch(t Table) { x.touched |= t }

func (x *Txn) exec(ctx context.Context, query string, args ...any) error {
	st, err := x.db.writing.get(ctx, query) //nolint:sqlclosecheck // kept by statements, which closes it
	if err != nil {
		return err
	}
	_, err = st.ExecContext(ctx, args...)
	return err
}

func (x *Txn) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	st, err := x.db.writing.get(ctx, query) //nolint:sqlclosecheck // kept by statements, which closes it
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...)
}

// In reads within the transaction and within a scope.
func (x *Txn) In(scope gestor.Scope) *View { return &View{from: x, scope: scope} }
