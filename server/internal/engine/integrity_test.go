package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestMark_IsTheHashOfTheStateThere(t *testing.T) {
	e := enginetest.New(t)
	r := enginetest.Propose(t, e, gestor.SystemActor("check"), command.Mark{ID: "m"})
	want := hash(t, e)
	enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{ID: "app_1", Slug: "shop"}})
	got, tables, err := e.Mark(t.Context(), r.Revision)
	if err != nil || got != want || tables["applications"] == "" {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := e.Mark(ctx, e.Revision()+100); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a mark that is not there yet: %v", err)
	}
}

func TestRefuse_KeepsUsersOutButNotWhatHelps(t *testing.T) {
	e := enginetest.New(t)
	full := false
	e.Refuse(func() error {
		if full {
			return fault.Exhausted("full")
		}
		return nil
	})
	enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{ID: "app_1", Slug: "shop"}})
	full = true
	_, err := e.Propose(t.Context(), command.Command{Actor: enginetest.Actor(), Op: command.CreateApp{App: gestor.App{ID: "app_2", Slug: "blog"}}})
	if fault.KindOf(err) != fault.KindExhausted {
		t.Errorf("a user's change: %v", err)
	}
	enginetest.Propose(t, e, gestor.SystemActor("loop"), command.Mark{ID: "m"})
	enginetest.Propose(t, e, enginetest.Actor(), command.DeleteApp{ID: "app_1"})
	full = false
	enginetest.Propose(t, e, enginetest.Actor(), command.CreateApp{App: gestor.App{ID: "app_2", Slug: "blog"}})
}

// grown is the data of a stopped engine with two snapshots and changes around them, and the hash of its state. Its log
// goes back to the beginning.
func grown(t *testing.T) (dir, state string) {
	t.Helper()
	dir = t.TempDir()
	e := enginetest.Open(t, dir)
	enginetest.Propose(t, e, gestor.SystemActor("setup"), command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}})
	for i := range 6 {
		op := command.CreateApp{App: gestor.App{ID: gestor.AppID(fmt.Sprint("app_", i)), Slug: fmt.Sprint("app-", i)}}
		enginetest.Propose(t, e, enginetest.Actor(), op)
		if i%2 == 0 && i < 4 {
			if err := e.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	state = hash(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, state
}

// snapshots are the snapshots below dir, oldest first.
func snapshots(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "raft", "snapshots", "snapshots", "*"))
	if err != nil || len(found) < 2 {
		t.Fatal(found, err)
	}
	return found
}

func flip(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpen_RebuildsADatabaseOfNoise(t *testing.T) {
	dir, want := grown(t)
	files, err := filepath.Glob(filepath.Join(dir, "state", "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, bytes.Repeat([]byte("noise"), 10000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e := enginetest.Open(t, dir)
	defer e.Close()
	if hash(t, e) != want {
		t.Error("the state is another")
	}
}

func TestOpen_TakesAnOlderSnapshotOnlyWhereTheLogReachesBack(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, newest string){
		"flipped": func(t *testing.T, newest string) {
			t.Helper()
			flip(t, filepath.Join(newest, "state.bin"))
		},
		"cut": func(t *testing.T, newest string) {
			t.Helper()
			if err := os.Truncate(filepath.Join(newest, "state.bin"), 100); err != nil {
				t.Fatal(err)
			}
		},
		"without a description": func(t *testing.T, newest string) {
			t.Helper()
			if err := os.WriteFile(filepath.Join(newest, "meta.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, want := grown(t)
			all := snapshots(t, dir)
			damage(t, all[len(all)-1])
			e := enginetest.Open(t, dir)
			if hash(t, e) != want {
				t.Error("the state is another")
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "raft", "damaged-snapshots", filepath.Base(all[len(all)-1]))); err != nil {
				t.Errorf("the damaged snapshot was not put aside: %v", err)
			}
		})
	}
}

func TestOpen_StopsWhereTheLogDoesNotReachBackToAWholeSnapshot(t *testing.T) {
	dir, _ := grown(t)
	all := snapshots(t, dir)
	flip(t, filepath.Join(all[len(all)-1], "state.bin"))
	if err := os.RemoveAll(filepath.Join(dir, "raft", "log")); err != nil { // as a log that begins behind the snapshot
		t.Fatal(err)
	}
	refuses(t, dir, "join again", "gestor-server restore")
	for _, s := range all {
		if err := os.RemoveAll(s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen_StopsAtASnapshotThisProgramCannotRead(t *testing.T) {
	dir, _ := grown(t)
	other, _ := grown(t)
	all := snapshots(t, dir)
	newest := all[len(all)-1]
	// A snapshot of another form, with a right checksum of Raft's: the older one must not be taken instead.
	o := cluster.Seed{Dir: filepath.Join(other, "planted"), Voter: cluster.Member{ID: "server-1", Address: "x"}, Index: 1 << 20, Term: 9}
	o.Write = func(w io.Writer) error {
		_, err := w.Write([]byte{2, 8, 99}) // a header of format 99
		return err
	}
	if err := cluster.Plant(o); err != nil {
		t.Fatal(err)
	}
	planted, err := filepath.Glob(filepath.Join(o.Dir, "snapshots", "snapshots", "*"))
	if err != nil || len(planted) != 1 {
		t.Fatal(planted, err)
	}
	if err := os.Rename(planted[0], filepath.Join(filepath.Dir(newest), filepath.Base(planted[0]))); err != nil {
		t.Fatal(err)
	}
	refuses(t, dir, "format 99", "install")
}

func TestOpen_StopsAtADamagedLog(t *testing.T) {
	dir, _ := grown(t)
	files, err := filepath.Glob(filepath.Join(dir, "raft", "log", "*.wal"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	raw, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[200] ^= 1
	if err := os.WriteFile(files[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, dir, "data on disk is damaged", "join again")
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots(t, dir) {
		if err := os.RemoveAll(s); err != nil {
			t.Fatal(err)
		}
	}
	refuses(t, dir, "the log in", "is empty")
}

// refuses checks that the engine does not open, and says so in these words.
func refuses(t *testing.T, dir string, words ...string) {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Options{Dir: dir, Heartbeat: 20 * time.Millisecond})
	if err == nil {
		_ = e.Close()
		t.Fatal("it was opened")
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not in: %v", word, err)
		}
	}
}
