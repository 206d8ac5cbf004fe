package state

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Store is the database. One goroutine at a time may use Begin and Restore; everything else is safe at any time.
type Store struct {
	dir string
	hub hub

	mu      sync.RWMutex
	db      *database // guarded by mu
	retired *database // the database before the last Restore, still read by those who had begun
	serial  int       // numbers the files
}

// Open makes an empty store in dir, which it creates. What is left there of an earlier run is removed: the state is
// only what a snapshot and the log say.
func Open(ctx context.Context, dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(dir, "state-*"))
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("open state: %w", err)
		}
	}
	s := &Store{dir: dir, serial: 1}
	if s.db, err = create(ctx, s.path(1)); err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	return s, nil
}

func (s *Store) path(serial int) string {
	return filepath.Join(s.dir, fmt.Sprintf("state-%d.db", serial))
}

// View reads within a scope. It needs no closing; every method sees what is committed when it is called.
func (s *Store) View(scope gestor.Scope) *View { return &View{from: s, scope: scope} }

// Watch subscribes to commits that touch one of tables.
func (s *Store) Watch(tables ...Table) *Subscription { return s.hub.subscribe(tables) }

// Version changes with every commit that touches one of tables, before whoever proposed the commit hears of it: what
// was read after a call is up to date for as long as later calls return the same.
func (s *Store) Version(tables ...Table) uint64 { return s.hub.version(tables) }

// Close ends everything. Reads that are under way may fail.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	if s.retired != nil {
		err = s.retired.close()
	}
	return errors.Join(err, s.db.close())
}

// query makes Store a source for Views.
func (s *Store) query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	st, err := s.db.reading.get(ctx, query) //nolint:sqlclosecheck // kept by statements, which closes it
	if err != nil {
		return nil, err
	}
	return st.QueryContext(ctx, args...) //nolint:sqlclosecheck // the caller closes the rows
}

// level is the level of the committed state.
func (s *Store) level() uint32 { return s.current().level.Load() }

// current is the database in use.
func (s *Store) current() *database {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.db
}
