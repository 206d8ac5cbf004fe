package state

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite" // also the driver
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed schema.sql
var schema string

// readers is how many reads run at once; more wait.
const readers = 8

// database is one SQLite file with its two ways in: one connection that writes, some that read.
type database struct {
	path  string
	write *sql.DB
	conn  *sql.Conn // the only connection of write
	read  *sql.DB
	level atomic.Uint32 // of the committed schema

	writing statements // prepared on conn
	reading statements // prepared on read
}

// create makes the database at path anew.
func create(ctx context.Context, path string) (*database, error) {
	if err := remove(path); err != nil {
		return nil, err
	}
	d, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	script := fmt.Sprintf("BEGIN;\n%s\nPRAGMA user_version = %d;\nCOMMIT;", schema, firstLevel)
	if _, err := d.conn.ExecContext(ctx, script); err != nil {
		return nil, errors.Join(fmt.Errorf("create schema: %w", err), d.close())
	}
	d.level.Store(firstLevel)
	return d, nil
}

func open(ctx context.Context, path string) (*database, error) {
	d := &database{path: path}
	var err error
	if d.write, err = sql.Open("sqlite", dsn(path, "")); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d.write.SetMaxOpenConns(1)
	if d.conn, err = d.write.Conn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), d.write.Close())
	}
	if d.read, err = sql.Open("sqlite", dsn(path, "query_only(1)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), d.close())
	}
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	d.writing.prepare = d.conn.PrepareContext
	d.reading.prepare = d.read.PrepareContext
	var level uint32
	if err := d.conn.QueryRowContext(ctx, levelQuery).Scan(&level); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), d.close())
	}
	d.level.Store(level)
	return d, nil
}

// dsn names a database: no syncing, because the Raft log is what is durable.
func dsn(path, pragma string) string {
	q := url.Values{"_pragma": {"busy_timeout(10000)", "journal_mode(wal)", "synchronous(off)", "temp_store(memory)"}}
	if pragma != "" {
		q.Add("_pragma", pragma)
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// IsFull reports whether err says that the disk of the state is full.
func IsFull(err error) bool {
	code, ok := errors.AsType[*sqlite.Error](err)
	return ok && code.Code()&0xff == sqlite3.SQLITE_FULL || errors.Is(err, unix.ENOSPC)
}

// errUnfit is for values that no column can hold.
var errUnfit = errors.New("the value cannot be stored")

// IsUnfit reports whether err says that a value or a row has no place in the state: it is not unique, say, or too long. That
// depends on nothing but the state and what was to be written, so it is the same on every server, and nothing is wrong
// with the database.
func IsUnfit(err error) bool {
	if errors.Is(err, errUnfit) {
		return true
	}
	failed, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch failed.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return true
	}
	return false
}

func (d *database) close() error {
	err := errors.Join(d.writing.close(), d.reading.close(), d.conn.Close(), d.write.Close())
	if d.read != nil {
		err = errors.Join(err, d.read.Close())
	}
	return err
}

// remove deletes a database with the files SQLite keeps beside it.
func remove(path string) error {
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// statements keeps what was prepared; the number of different statements is small and fixed by the code.
type statements struct {
	prepare func(ctx context.Context, query string) (*sql.Stmt, error)

	mu sync.Mutex
	by map[string]*sql.Stmt // guarded by mu
}

func (s *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st, ok := s.by[query]; ok {
		return st, nil
	}
	// The statement outlives the caller, so the caller's end must not take it along.
	st, err := s.prepare(context.WithoutCancel(ctx), query) //nolint:sqlclosecheck // kept by s, whose close closes it
	if err != nil {
		return nil, err
	}
	if s.by == nil {
		s.by = map[string]*sql.Stmt{}
	}
	s.by[query] = st
	return st, nil
}

func (s *statements) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, st := range s.by {
		errs = append(errs, st.Close())
	}
	s.by = nil
	return errors.Join(errs...)
}
