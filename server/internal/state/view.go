package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"

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
	level() uint32 // of the state that is read
}

// Scope is what v may see.
func (v *View) Scope() gestor.Scope { return v.scope }

// where is the condition that keeps a statement over a table in the scope, with the arguments for it before args.
func (v *View) where(b bounds, args ...any) (string, []any) {
	switch {
	case v.scope.IsSystem():
		return "WHERE 1 = 1", args
	case v.scope.Tenant == "":
		return "WHERE 1 = 0", args
	}
	condition, own := "WHERE tenant_id = ?", []any{string(v.scope.Tenant)}
	if b.shared != "" && v.from.level() >= levelPeople {
		condition = "WHERE (tenant_id = ? OR " + b.shared + " = 1)"
	}
	if b.app != "" {
		for _, n := range v.scope.Narrow {
			condition += " AND " + b.app + within //nolint:perfsprint // there are two at most: a user's and a token's
			own = append(own, string(v.scope.Tenant), jsonText(n.Apps), jsonText(n.Environments))
		}
	}
	if b.installation && v.scope.Installation {
		condition = "WHERE (tenant_id = '' OR " + strings.TrimPrefix(condition, "WHERE ") + ")"
	}
	return condition, append(own, args...)
}

// bounds are the columns of a table by which scopes bound it, besides tenant_id. A column that is not named does not bound.
type bounds struct {
	app    string // names the app of a row
	shared string // claims that every tenant sees the row
	// installation says that rows without a tenant belong to the installation, and are seen by scopes that see it.
	installation bool
}

// within are the apps that a narrowing names, by id or by environment.
const within = ` IN (
  SELECT id
  FROM applications
  WHERE tenant_id = ? AND (
    id IN (SELECT value FROM json_each(?))
    OR COALESCE(NULLIF(json_extract(settings_json, '$.Environment'), ''), 'production') IN (SELECT value FROM json_each(?))))`

// jsonText is a list as JSON; none is "[]".
func jsonText[T any](list []T) string {
	b, err := json.Marshal(append([]T{}, list...))
	if err != nil {
		panic(fmt.Sprintf("a list of text is JSON: %v", err))
	}
	return string(b)
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
	where, args := v.where(t.bounds, args...)
	return t.find(ctx, v.from, where+rest, args...)
}
