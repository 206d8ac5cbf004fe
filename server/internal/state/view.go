package state

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// View reads within a scope. Something outside the scope is not found, like something that does not exist.
type View struct {
	from  source
	scope gestor.Scope
}

// source is where a View reads: the committed state or a transaction.
type source interface {
	query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Scope is what v may see.
func (v *View) Scope() gestor.Scope { return v.scope }

// where is the condition that keeps a statement in the scope, with the arguments for it before args.
func (v *View) where(args ...any) (string, []any) {
	switch {
	case v.scope.IsSystem():
		return "WHERE 1 = 1", args
	case v.scope.Tenant == "":
		return "WHERE 1 = 0", args
	default:
		return "WHERE tenant_id = ?", append([]any{string(v.scope.Tenant)}, args...)
	}
}

// one reads the value that fits the rest of the condition, " AND id = ?".
func one[T any](ctx context.Context, v *View, t *table[T], noun, rest string, args ...any) (T, error) {
	var none T
	found, err := many(ctx, v, t, rest, args...)
	if err != nil {
		return none, fmt.Errorf("read %s: %w", noun, err)
	}
	if len(found) == 0 {
		return none, fault.NotFound("there is no such %s", noun)
	}
	return found[0], nil
}

// many reads all values that fit the rest of the condition.
func many[T any](ctx context.Context, v *View, t *table[T], rest string, args ...any) ([]T, error) {
	where, args := v.where(args...)
	return t.find(ctx, v.from, where+rest, args...)
}
