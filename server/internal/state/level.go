package state

import (
	"context"
	"embed"
	"fmt"
	"path"

	"github.com/saas-gestor/gestor/proto/fault"
)

// firstLevel is the level of the schema in schema.sql, with which every database begins.
const firstLevel = 1

// levelPeople brought tenants, people, tokens, events and the chain of the audit log.
const levelPeople = 2

// migration brings the schema from the level before to its own. It runs at one place in the log, on every server, so
// it is as deterministic as a command: no clock, no randomness, no order but a stated one. A script never changes once
// it was released.
type migration struct {
	level  uint32
	script string // statements; empty if the level only brings commands
}

//go:embed level2
var scripts embed.FS

// migrations are all there are, by level.
func migrations() []migration {
	return append([]migration{{level: levelPeople, script: script("level2")}}, nextMigrations()...)
}

// script joins the statements of a folder, in the order of the names of its files: one for each subject.
func script(dir string) string {
	files, err := scripts.ReadDir(dir)
	if err != nil {
		panic("the migrations are not in the program: " + err.Error())
	}
	var all []byte
	for _, f := range files {
		text, err := scripts.ReadFile(path.Join(dir, f.Name()))
		if err != nil {
			panic("the migrations are not in the program: " + err.Error())
		}
		all = append(append(all, text...), '\n')
	}
	return string(all)
}

// NewestLevel is the newest level of a state that this program understands.
func NewestLevel() uint32 {
	newest := uint32(firstLevel)
	for _, m := range migrations() {
		newest = m.level
	}
	return newest
}

// levelQuery reads the level, which SQLite keeps in the file's head.
const levelQuery = "PRAGMA user_version"

// Level is the level of the committed state.
func (s *Store) Level(ctx context.Context) (uint32, error) {
	n, err := number(ctx, s, levelQuery)
	return uint32(n), err
}

// Level is the level of the state within the transaction.
func (x *Txn) Level(ctx context.Context) (uint32, error) {
	n, err := x.number(ctx, levelQuery)
	return uint32(n), err
}

// AtLeast reports whether the state within the transaction has a level.
func (x *Txn) AtLeast(level uint32) bool { return x.level() >= level }

// level is the level of the state within the transaction.
func (x *Txn) level() uint32 { return max(x.raised, x.db.level.Load()) }

// RaiseLevel runs the migrations up to a level. A level that the state has already is fine.
func (x *Txn) RaiseLevel(ctx context.Context, to uint32) error {
	now, err := x.Level(ctx)
	if err != nil {
		return err
	}
	if to > NewestLevel() {
		return fmt.Errorf("raise the state to level %d: this server knows levels up to %d", to, NewestLevel())
	}
	for _, m := range migrations() {
		if m.level <= now || m.level > to {
			continue
		}
		script := fmt.Sprintf("%s;\nPRAGMA user_version = %d;", m.script, m.level)
		if _, err := x.db.conn.ExecContext(ctx, script); err != nil {
			return fmt.Errorf("raise the state to level %d: %w", m.level, err)
		}
		x.raised = m.level
		x.touch(^Table(0))
	}
	return nil
}

// CheckLevel says whether this program can go on with a state of a level.
func CheckLevel(level uint32) error {
	if level >= firstLevel && level <= NewestLevel() {
		return nil
	}
	return fault.Conflict("the state has level %d, this program knows levels %d to %d", level, firstLevel, NewestLevel()).
		WithFix("install the newer gestor-server that wrote it, or a later one")
}
