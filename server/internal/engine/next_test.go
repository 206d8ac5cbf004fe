//go:build gestor_next

package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

func TestLevel_FollowsTheOldestServerAndLetsItsOpsInThen(t *testing.T) {
	dir := t.TempDir()
	e := enginetest.Open(t, dir)
	system := gestor.SystemActor("test")
	enginetest.Propose(t, e, system, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_1"}, Level: 2})
	old := gestor.Server{ID: "srv_1", Name: "ctl1", PeerAddress: "ctl1:8444", Version: "1.0", Level: 1}
	enginetest.Propose(t, e, system, command.PutServer{Server: old})
	_, err := e.Propose(t.Context(), command.Command{Actor: system, Op: command.PutNote{ID: "n"}})
	if fault.KindOf(err) != fault.KindConflict {
		t.Fatalf("an op that ctl1 does not understand: %v", err)
	}
	stop := run(t, e)
	old.Version, old.Level = "2.0", 3
	enginetest.Propose(t, e, system, command.PutServer{Server: old})
	await(t, e, func(ctx context.Context) bool {
		n, err := e.Notes(ctx)
		return err == nil && n == 1
	})
	stop()
	before := hash(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = enginetest.Open(t, dir)
	defer e.Close()
	if after := hash(t, e); after != before {
		t.Error("the migrated state is another after a restart")
	}
}

func run(t *testing.T, e *engine.Engine) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// await waits until ok, looking after every change.
func await(t *testing.T, e *engine.Engine, ok func(ctx context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	news := e.Watch(^state.Table(0))
	defer news.Close()
	for tick := time.NewTicker(50 * time.Millisecond); !ok(ctx); {
		select {
		case <-news.C:
		case <-tick.C: // notes are in no table that is watched
		case <-ctx.Done():
			t.Fatal("it did not come to be")
		}
	}
}
