package state

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Hashes are sums over a state. They are the same for the same state, whatever way led there.
type Hashes struct {
	All    string            // over the level and all tables
	Tables map[string]string // by table
}

// Hash is Hashes.All of the committed state of now.
func (s *Store) Hash(ctx context.Context) (_ string, err error) {
	p, err := s.Pin(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.Close()) }() //nolint:contextcheck // it must end, whatever became of the caller
	h, err := p.Hashes(ctx)
	return h.All, err
}

const allTables = `
SELECT name
FROM sqlite_master
WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
ORDER BY name`

// Hashes reads the whole pinned state, a row at a time.
func (p *Pin) Hashes(ctx context.Context) (Hashes, error) {
	out := Hashes{Tables: map[string]string{}}
	level, err := number(ctx, p, levelQuery)
	if err != nil {
		return Hashes{}, fmt.Errorf("hash state: %w", err)
	}
	names, err := p.texts(ctx, allTables)
	if err != nil {
		return Hashes{}, fmt.Errorf("hash state: %w", err)
	}
	all := sha256.New()
	_, _ = fmt.Fprintf(all, "level %d\n", level) // a hash takes all, here and below
	for _, name := range names {
		sum := sha256.New()
		if err := p.readTable(ctx, name, sum); err != nil {
			return Hashes{}, fmt.Errorf("hash table %s: %w", name, err)
		}
		out.Tables[name] = hex.EncodeToString(sum.Sum(nil))
		_, _ = fmt.Fprintf(all, "table %s %s\n", name, out.Tables[name])
	}
	out.All = hex.EncodeToString(all.Sum(nil))
	return out, nil
}

// readTable writes a table's rows as text, by primary key.
func (p *Pin) readTable(ctx context.Context, name string, w io.Writer) error {
	columns, err := p.texts(ctx, "SELECT name FROM pragma_table_info('"+name+"') ORDER BY cid")
	if err != nil {
		return err
	}
	key, err := p.texts(ctx, "SELECT name FROM pragma_table_info('"+name+"') WHERE pk > 0 ORDER BY pk")
	if err != nil {
		return err
	}
	if len(key) == 0 {
		key = columns
	}
	quoted := "quote(" + strings.Join(columns, ") || ',' || quote(") + ")"
	return p.each(ctx, "SELECT "+quoted+" FROM "+name+" ORDER BY "+strings.Join(key, ", "), func(row string) {
		_, _ = io.WriteString(w, row+"\n")
	})
}

func (p *Pin) texts(ctx context.Context, query string) ([]string, error) {
	var out []string
	err := p.each(ctx, query, func(text string) { out = append(out, text) })
	return out, err
}

// each calls do with the one column of every row.
func (p *Pin) each(ctx context.Context, query string, do func(text string)) error {
	rows, err := p.query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return err
		}
		do(text)
	}
	return rows.Err()
}

// query makes Pin a source of reads within its moment.
func (p *Pin) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return p.conn.QueryContext(ctx, query, args...)
}
