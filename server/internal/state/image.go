package state

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"

	"modernc.org/sqlite"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Pin holds a moment of the state still, to copy it while writing goes on.
type Pin struct {
	conn *sql.Conn
	at   uint32 // the level
}

// Pin holds the committed state of now. It is quick; Pin.Copy is not. The caller closes it.
func (s *Store) Pin(ctx context.Context) (*Pin, error) {
	conn, err := s.current().read.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("pin state: %w", err)
	}
	p := &Pin{conn: conn}
	// A read transaction begins with its first read, not with BEGIN.
	for _, query := range []string{"BEGIN", "SELECT applied FROM meta"} {
		if err := p.run(ctx, query); err != nil {
			return nil, errors.Join(fmt.Errorf("pin state: %w", err), conn.Close())
		}
	}
	if p.at, err = p.Level(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("pin state: %w", err), p.Close()) //nolint:contextcheck // it must end
	}
	return p, nil
}

// level is the level of the pinned state.
func (p *Pin) level() uint32 { return p.at }

// View reads the pinned state.
func (p *Pin) View(scope gestor.Scope) *View { return &View{from: p, scope: scope} }

// Applied is the last Raft index in the pinned state.
func (p *Pin) Applied(ctx context.Context) (uint64, error) {
	n, err := number(ctx, p, lastApplied)
	return uint64(n), err
}

// Level is the level of the pinned state.
func (p *Pin) Level(ctx context.Context) (uint32, error) {
	n, err := number(ctx, p, levelQuery)
	return uint32(n), err
}

func (p *Pin) run(ctx context.Context, query string) (err error) {
	rows, err := p.conn.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() { // to its end, so that the statement is done
	}
	return rows.Err()
}

// backuper is what the driver's connections offer beyond database/sql.
type backuper interface {
	NewBackup(dstURI string) (*sqlite.Backup, error)
}

// Copy writes the pinned state into a new file, a whole SQLite database.
func (p *Pin) Copy(path string) error {
	err := p.conn.Raw(func(c any) error {
		b, ok := c.(backuper)
		if !ok {
			return fmt.Errorf("the driver's connection %T cannot back up", c)
		}
		backup, err := b.NewBackup(path)
		if err != nil {
			return err
		}
		_, err = backup.Step(-1)
		return errors.Join(err, backup.Finish())
	})
	if err != nil {
		return fmt.Errorf("copy state to %s: %w", path, err)
	}
	return nil
}

// Close lets the moment go.
func (p *Pin) Close() error {
	ctx := context.Background() // it must end whatever became of the caller
	err := p.run(ctx, "ROLLBACK")
	if err != nil {
		// A connection that is still in the transaction must not go back to the others.
		err = errors.Join(err, p.conn.Raw(func(any) error { return driver.ErrBadConn }))
	}
	return errors.Join(err, p.conn.Close())
}

// CheckImage reads a copied database through and says what is wrong with it.
func CheckImage(ctx context.Context, path string) error {
	uri := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "mode=ro&immutable=1"}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // it was only read
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&verdict); err != nil {
		return fmt.Errorf("check image: %w", err)
	}
	if verdict != "ok" {
		return fmt.Errorf("check image: it is damaged: %s", verdict)
	}
	var level uint32
	if err := db.QueryRowContext(ctx, levelQuery).Scan(&level); err != nil {
		return fmt.Errorf("check image: %w", err)
	}
	return CheckLevel(level)
}

// Restore makes the database at path, which it takes over, the state, at once for every new read. All subscriptions
// are signalled.
func (s *Store) Restore(ctx context.Context, path string) error {
	if err := CheckImage(ctx, path); err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	target := s.path(s.serial + 1)
	if err := errors.Join(remove(target), os.Rename(path, target)); err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	db, err := open(ctx, target)
	if err != nil {
		return fmt.Errorf("restore state: %w", err)
	}
	s.serial++
	old := s.retired
	s.retired, s.db = s.db, db
	s.hub.publish(^Table(0))
	if old != nil {
		err = errors.Join(old.close(), remove(old.path))
	}
	return err
}

// Temp is the path of a new empty file beside the database, for an image on its way in or out.
func (s *Store) Temp() (string, error) {
	f, err := os.CreateTemp(s.dir, "state-image-*")
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
