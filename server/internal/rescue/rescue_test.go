package rescue_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/rescue"
)

// survivor is the data of a stopped server of a cluster, with another server in its table.
func survivor(t *testing.T) (dir string, last uint64) {
	t.Helper()
	dir = t.TempDir()
	e := enginetest.Open(t, dir)
	system := gestor.SystemActor("test")
	enginetest.Propose(t, e, system, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}})
	enginetest.Propose(t, e, system, command.PutServer{Server: gestor.Server{ID: "srv_2", Name: "lost", PeerAddress: "lost:8444", Level: 1}})
	if err := e.Snapshot(); err != nil {
		t.Fatal(err)
	}
	app := command.CreateApp{App: gestor.App{ID: "app_1", Slug: "shop"}}
	last = enginetest.Propose(t, e, enginetest.Actor(), app).Revision // behind the snapshot
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, last
}

func TestRecover_KeepsEverythingAndCountsOnFromFarAbove(t *testing.T) {
	dir, last := survivor(t)
	log := slog.New(slog.DiscardHandler)
	before, err := rescue.Check(t.Context(), dir, "test", "server-1", log)
	if err != nil || before.Revision != last || before.Cluster.ID != "clu_1" {
		t.Fatalf("got %+v, %v", before, err)
	}
	if _, err := rescue.Recover(t.Context(), dir, "test", "srv_stranger", log, time.Now()); err == nil {
		t.Error("a server that is no member was recovered")
	}
	done, err := rescue.Recover(t.Context(), dir, "test", "server-1", log, time.Now())
	if err != nil || done.Had != last || done.Revision != last+rescue.Leap {
		t.Fatalf("got %+v, %v", done, err)
	}
	if _, err := os.Stat(done.Kept); err != nil {
		t.Errorf("the data of before is gone: %v", err)
	}
	goesOn(t, dir, done.Revision)
}

func TestFinish_EndsARecoveryThatWasInterrupted(t *testing.T) {
	dir, _ := survivor(t)
	if err := rescue.Finish(dir); err != nil { // nothing to do
		t.Fatal(err)
	}
	done, err := rescue.Recover(t.Context(), dir, "test", "server-1", slog.New(slog.DiscardHandler), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// As a crash between the renames leaves it.
	if err := os.Rename(filepath.Join(dir, "raft"), filepath.Join(dir, "raft.new")); err != nil {
		t.Fatal(err)
	}
	if err := rescue.Finish(dir); err != nil {
		t.Fatal(err)
	}
	goesOn(t, dir, done.Revision)
}

func TestFinish_LeavesAFreshDirectoryAlone(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "raft.new"), 0o700); err != nil { // of a restore that was interrupted
		t.Fatal(err)
	}
	if err := rescue.Finish(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "raft")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("half a restore was taken for data: %v", err)
	}
}

// goesOn checks the state of a cluster that began anew, twice, and that it takes changes above a revision.
func goesOn(t *testing.T, dir string, above uint64) {
	t.Helper()
	for range 2 {
		e := enginetest.Open(t, dir)
		v := e.View(gestor.SystemScope())
		if _, err := v.App(t.Context(), "app_1"); err != nil {
			t.Error(err)
		}
		if all, err := v.Servers(t.Context()); err != nil || len(all) != 1 || all[0].ID != "server-1" {
			t.Errorf("the servers are %v, %v", all, err)
		}
		if r := enginetest.Propose(t, e, gestor.SystemActor("test"), command.Mark{ID: "m"}); r.Revision <= above {
			t.Errorf("revision %d is not above %d", r.Revision, above)
		}
		if err := errors.Join(e.Snapshot(), e.Close()); err != nil {
			t.Fatal(err)
		}
	}
}
