package state

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// sealedColumn is a column that holds sealed values and nothing else.
type sealedColumn struct {
	touches Table
	table   string
	column  string
	key     []string                 // the primary key of the table
	bound   []string                 // the columns that say what the value is bound to
	place   func(of []string) string // what that is
	since   uint32                   // the level of the state that brought it
}

func (c sealedColumn) name() string { return c.table + "." + c.column }

// sealedColumns are all columns with sealed values. The change to another key, the count of what cannot be read and the
// search for secrets in clear go by this list: a column that is not here would be lost with the key that sealed it.
func sealedColumns() []sealedColumn {
	id, envKey := []string{"id"}, []string{"app_id", "name"}
	return []sealedColumn{
		{Cluster, "cluster", "server_root_key", id, nil, fixed(gestor.ServerRootPlace), firstLevel},
		{Cluster, "cluster", "agent_root_key", id, nil, fixed(gestor.AgentRootPlace), firstLevel},
		{Apps, "applications", "deploy_key_sealed", id, id, first(gestor.DeployKeyPlace), firstLevel},
		{Env, "application_env", "sealed", envKey, envKey, envPlace, firstLevel},
		{Env, "application_env_past", "sealed", append(envKey, "since"), envKey, envPlace, levelPeople},
		{Factors, "factors", "secret", id, []string{"user_id"}, first(gestor.TOTPPlace), levelPeople},
		{Channels, "channels", "secret_sealed", id, id, first(gestor.ChannelPlace), levelPeople},
		{Providers, "providers", "secret_sealed", id, id, first(gestor.ProviderPlace), levelPeople},
	}
}

func fixed(place string) func([]string) string { return func([]string) string { return place } }

// first is a place that one id says.
func first[ID ~string](place func(ID) string) func([]string) string {
	return func(of []string) string { return place(ID(of[0])) }
}

func envPlace(of []string) string { return gestor.EnvPlace(gestor.AppID(of[0]), of[1]) }

// Sealed is one sealed value in the state.
type Sealed struct {
	Column string   // "application_env.sealed"
	Key    []string // the primary key of its row
	Place  string   // what it is bound to
	Value  []byte
}

// SealedTables are the tables that hold sealed values.
func SealedTables() Table {
	var all Table
	for _, c := range sealedColumns() {
		all |= c.touches
	}
	return all
}

// SealedColumns are the columns that hold sealed values, "application_env.sealed".
func SealedColumns() []string {
	var names []string
	for _, c := range sealedColumns() {
		names = append(names, c.name())
	}
	return names
}

// isSealed is the condition of what a key ring has sealed: its first byte is the form, the next four are the key's id.
const isSealed = "length(%[1]s) > 5 AND substr(%[1]s, 1, 1) = x'01'"

// SealedOtherwise are at most limit values that are sealed with other keys than those named, hex; for the system scope
// only. They are read by column and then by key, from the one after on.
func (v *View) SealedOtherwise(ctx context.Context, except []string, after Sealed, limit int) ([]Sealed, error) {
	var out []Sealed
	begun := after.Column == ""
	for _, c := range sealedColumns() {
		from := []string(nil)
		if c.name() == after.Column {
			begun, from = true, after.Key
		}
		if !begun || !v.scope.IsSystem() || c.since > v.from.level() || len(out) >= limit {
			continue
		}
		found, err := v.sealedIn(ctx, c, except, from, limit-len(out))
		if err != nil {
			return nil, fmt.Errorf("read sealed values of %s: %w", c.name(), err)
		}
		out = append(out, found...)
	}
	return out, nil
}

func (v *View) sealedIn(ctx context.Context, c sealedColumn, except, after []string, limit int) ([]Sealed, error) {
	list := strings.Join(c.key, ", ")
	where, args := fmt.Sprintf(isSealed, c.column), []any{jsonText(except)}
	where += " AND lower(hex(substr(" + c.column + ", 2, 4))) NOT IN (SELECT value FROM json_each(?))"
	if after != nil {
		where += " AND (" + list + ") > (" + strings.TrimSuffix(strings.Repeat("?, ", len(c.key)), ", ") + ")"
		for _, k := range after {
			args = append(args, k)
		}
	}
	query := "SELECT " + strings.Join(append(append([]string{c.column}, c.key...), c.bound...), ", ") + "\nFROM " + c.table + "\nWHERE " + where + "\nORDER BY " + list + "\nLIMIT ?"
	rows, err := v.from.query(ctx, query, append(args, limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // read to the end, or failed already
	var out []Sealed
	for rows.Next() {
		s := Sealed{Column: c.name()}
		texts, into := make([]string, len(c.key)+len(c.bound)), []any{&s.Value}
		for i := range texts {
			into = append(into, &texts[i])
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		s.Key, s.Place = texts[:len(c.key)], c.place(texts[len(c.key):])
		out = append(out, s)
	}
	return out, rows.Err()
}

// SealedCounts is how many values are sealed with which key, hex; for the system scope only. It reads the tables through.
func (v *View) SealedCounts(ctx context.Context) (map[string]int64, error) {
	out := map[string]int64{}
	for _, c := range sealedColumns() {
		if !v.scope.IsSystem() || c.since > v.from.level() {
			continue
		}
		if err := v.countSealed(ctx, c, out); err != nil {
			return nil, fmt.Errorf("count sealed values of %s: %w", c.name(), err)
		}
	}
	return out, nil
}

func (v *View) countSealed(ctx context.Context, c sealedColumn, into map[string]int64) error {
	query := "SELECT lower(hex(substr(" + c.column + ", 2, 4))), COUNT(*)\nFROM " + c.table +
		"\nWHERE " + fmt.Sprintf(isSealed, c.column) + "\nGROUP BY 1"
	rows, err := v.from.query(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }() // read to the end, or failed already
	for rows.Next() {
		var id string
		var n int64
		if err := rows.Scan(&id, &n); err != nil {
			return err
		}
		into[id] += n
	}
	return rows.Err()
}

// Reseal replaces a sealed value by one that another key has sealed, unless it has changed since it was read, or is gone.
func (x *Txn) Reseal(ctx context.Context, r gestor.Resealed) error {
	i := slices.IndexFunc(sealedColumns(), func(c sealedColumn) bool { return c.name() == r.Column && c.since <= x.level() })
	if i < 0 {
		return fault.Invalid("column", "%s holds no sealed values", r.Column)
	}
	c := sealedColumns()[i]
	if len(r.Key) != len(c.key) {
		return fault.Invalid("key", "a row of %s has a key of %d parts", c.table, len(c.key))
	}
	row := "\nWHERE " + strings.Join(c.key, " = ? AND ") + " = ?"
	args := make([]any, len(r.Key))
	for i, k := range r.Key {
		args[i] = k
	}
	before, err := x.blob(ctx, "SELECT "+c.column+"\nFROM "+c.table+row, args...)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(before)
	if before == nil || subtle.ConstantTimeCompare(sum[:], r.Before) != 1 {
		return nil
	}
	x.touch(c.touches)
	return x.exec(ctx, "UPDATE "+c.table+"\nSET "+c.column+" = ?"+row, append([]any{r.Sealed}, args...)...)
}

// blob reads the one value a statement returns; nil for none.
func (x *Txn) blob(ctx context.Context, query string, args ...any) ([]byte, error) {
	rows, err := x.query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // read to the end, or failed already
	var b []byte
	if rows.Next() {
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
	}
	return b, rows.Err()
}

// SealedWith is the id, hex, of the key that sealed a value; empty for what no ring has sealed.
func SealedWith(value []byte) string {
	if len(value) <= 5 || value[0] != 1 {
		return ""
	}
	return hex.EncodeToString(value[1:5])
}
