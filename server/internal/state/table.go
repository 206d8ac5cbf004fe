package state

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// column binds a column to a field of a value: its pointer is scanned into and written from. The pointer's type says
// how it is stored: text, numbers and claims as they are, times as nanoseconds, bytes as they are, all else as JSON.
type column struct {
	name  string
	field any
}

// table is how values of T are stored: one form for each level of the schema that changed it.
type table[T any] struct {
	touches Table
	name    string
	key     []string
	bounds  bounds
	forms   []form[T] // by level, the oldest first
}

// form is the columns of a table from a level on.
type form[T any] struct {
	level   uint32
	columns func(*T) []column
	sel     string // SELECT … FROM …
	put     string
}

// newTable prepares the statements of a table of the first level; key names the columns of its primary key.
func newTable[T any](touches Table, name string, key []string, columns func(*T) []column) *table[T] {
	return newTableOf(firstLevel, touches, name, key, columns)
}

// newTableOf is newTable for a table that came with a level. Below it nothing is found there.
func newTableOf[T any](level uint32, touches Table, name string, key []string, columns func(*T) []column) *table[T] {
	t := &table[T]{touches: touches, name: name, key: key}
	t.forms = []form[T]{t.form(level, columns)}
	return t
}

// since adds columns that came with a level. Below it they are neither read nor written, so their fields are zero.
func (t *table[T]) since(level uint32, columns func(*T) []column) *table[T] {
	before := t.forms[len(t.forms)-1]
	t.forms = append(t.forms, t.form(level, func(v *T) []column { return append(before.columns(v), columns(v)...) }))
	return t
}

// within says by which columns scopes bound the table.
func (t *table[T]) within(b bounds) *table[T] {
	t.bounds = b
	return t
}

func (t *table[T]) form(level uint32, columns func(*T) []column) form[T] {
	var v T
	var names, marks, sets []string
	for _, c := range columns(&v) {
		names = append(names, c.name)
		marks = append(marks, "?")
		sets = append(sets, c.name+" = excluded."+c.name)
	}
	list := strings.Join(names, ", ")
	return form[T]{
		level:   level,
		columns: columns,
		sel:     "SELECT " + list + "\nFROM " + t.name,
		put: "INSERT INTO " + t.name + " (" + list + ")\nVALUES (" + strings.Join(marks, ", ") + ")" +
			"\nON CONFLICT (" + strings.Join(t.key, ", ") + ") DO UPDATE SET " + strings.Join(sets, ", "),
	}
}

// at is the form of the table in a state of a level.
func (t *table[T]) at(level uint32) form[T] {
	for i := len(t.forms) - 1; i > 0; i-- {
		if t.forms[i].level <= level {
			return t.forms[i]
		}
	}
	return t.forms[0]
}

// save writes v, new or not.
func (t *table[T]) save(ctx context.Context, x *Txn, v *T) error {
	f := t.at(x.level())
	columns := f.columns(v)
	args := make([]any, len(columns))
	for i, c := range columns {
		arg, err := stored(c.field)
		if err != nil {
			return fmt.Errorf("store %s: %w", c.name, err)
		}
		args[i] = arg
	}
	x.touch(t.touches)
	return x.exec(ctx, f.put, args...)
}

// find reads the values that fit the rest of a SELECT.
func (t *table[T]) find(ctx context.Context, from source, rest string, args ...any) ([]T, error) {
	f := t.at(from.level())
	if from.level() < f.level {
		return nil, nil
	}
	rows, err := from.query(ctx, f.sel+"\n"+rest, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []T
	for rows.Next() {
		var v T
		if err := f.scan(rows, &v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}

func (f form[T]) scan(rows *sql.Rows, v *T) error {
	columns := f.columns(v)
	into := make([]any, len(columns))
	for i, c := range columns {
		into[i] = target(c.field)
	}
	return rows.Scan(into...)
}

// stored is the value of the field behind a pointer as SQLite keeps it.
func stored(field any) (any, error) {
	switch p := field.(type) {
	case *time.Time:
		return nanos(*p), nil
	case *[]byte:
		if *p == nil {
			return []byte{}, nil
		}
		return *p, nil
	}
	switch v := reflect.ValueOf(field).Elem(); v.Kind() {
	case reflect.String:
		return v.String(), nil
	case reflect.Bool:
		return v.Bool(), nil
	case reflect.Int, reflect.Int64:
		return v.Int(), nil
	case reflect.Uint32, reflect.Uint64:
		return int64(v.Uint()), nil
	default:
		b, err := json.Marshal(field)
		if err != nil { // a number that is none, a year with five digits
			return nil, fmt.Errorf("%w: %w", errUnfit, err)
		}
		return string(b), nil
	}
}

// target is what Scan fills for the field behind a pointer.
func target(field any) any {
	switch p := field.(type) {
	case *time.Time:
		return (*momentScan)(p)
	case *[]byte:
		return (*bytesScan)(p)
	}
	switch reflect.TypeOf(field).Elem().Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice, reflect.Pointer:
		return jsonScan{field}
	default:
		return field
	}
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

type momentScan time.Time

func (m *momentScan) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("a time is stored as %T", src)
	}
	*m = momentScan{}
	if n != 0 {
		*m = momentScan(time.Unix(0, n).UTC())
	}
	return nil
}

type bytesScan []byte

// Scan reads empty bytes as none, as the domain has them.
func (b *bytesScan) Scan(src any) error {
	*b = nil
	if v, ok := src.([]byte); ok && len(v) > 0 {
		*b = append(*b, v...)
	}
	return nil
}

type jsonScan struct{ into any }

func (j jsonScan) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("JSON is stored as %T", src)
	}
	return json.Unmarshal([]byte(text), j.into)
}
