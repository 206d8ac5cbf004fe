//go:build gestor_next

package state

import "context"

// nextMigrations makes this source a program of the next level, for tests of clusters of both.
func nextMigrations() []migration {
	return []migration{{level: 3, script: `
CREATE TABLE notes (
  id       TEXT NOT NULL PRIMARY KEY,
  text     TEXT NOT NULL,
  revision INTEGER NOT NULL
) STRICT`}}
}

const putNote = `
INSERT INTO notes (id, text, revision)
VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET text = excluded.text, revision = excluded.revision`

// PutNote writes a note.
func (x *Txn) PutNote(ctx context.Context, id, text string) error {
	return x.exec(ctx, putNote, id, text, int64(x.Revision))
}

// Notes is how many notes there are; the state must have level 3.
func (s *Store) Notes(ctx context.Context) (int64, error) {
	return number(ctx, s, "SELECT count(*) FROM notes")
}
