package api

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// revocation ends the sign-in of "viewer", as another server has done it, once this server catches up.
type revocation struct {
	store    *state.Store
	revision atomic.Uint64
}

func (r *revocation) arrive(ctx context.Context) error {
	x, err := r.store.Begin(ctx)
	if err != nil {
		return err
	}
	r.revision.Store(8)
	return errors.Join(x.DeleteSession(ctx, gestor.SessionID("ses_viewer")), x.Commit(ctx, 8))
}

// revokedElsewhere is a wall on a server that learns of the revocation by a read index, or by waiting for a revision.
func revokedElsewhere(t *testing.T) *wall {
	t.Helper()
	r := &revocation{}
	r.revision.Store(7)
	return newWallOf(t, true, time.Now(), func(d *Deps) {
		before, ok := d.Engine.(storeEngine)
		if !ok {
			t.Fatal("another engine")
		}
		r.store = before.Store
		d.Engine = growingEngine{before.Store, before, &r.revision, func() {
			if err := r.arrive(context.Background()); err != nil {
				t.Error(err)
			}
		}}
		d.Revision, d.Barrier = r.revision.Load, r.arrive
	})
}

func TestCatchUp_ASessionThatWasRevokedOnAnotherServerReadsNothing(t *testing.T) {
	if _, code, text := revokedElsewhere(t).ask(t, "viewer", aRead, nil); code != "unauthenticated" {
		t.Errorf("a read: got %s %s", code, text)
	}
}

func TestCatchUp_ASessionThatWasRevokedBeforeWhatItHasSeenIsRefused(t *testing.T) {
	seen := map[string]string{rpc.HeaderMinRevision: "8"}
	if _, code, text := revokedElsewhere(t).ask(t, "viewer", aRead, seen); code != "unauthenticated" {
		t.Errorf("a read: got %s %s", code, text)
	}
}
