package api

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
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

// pacedTasks sends one event for each that is asked for.
type pacedTasks struct {
	gestorv1connect.UnimplementedTaskServiceHandler
	ask chan struct{}
}

func (s *pacedTasks) WatchTask(_ context.Context, _ *gestorv1.WatchTaskRequest, stream *connect.ServerStream[gestorv1.WatchTaskResponse]) error {
	for range s.ask {
		if err := stream.Send(&gestorv1.WatchTaskResponse{Task: &gestorv1.Task{Id: "x"}}); err != nil {
			return err
		}
	}
	return nil
}

func TestStreams_EndWithTheSignInTheyBelongTo(t *testing.T) {
	streamEnds(t, fault.KindUnauthenticated, func(r *revocation) error { return r.arrive(t.Context()) })
}

// A stream reads with the scope it began with, so one that went on would show for days what its reader no longer sees.
func TestStreams_EndWhenTheirReaderSeesLess(t *testing.T) {
	change := func(what func(*gestor.User)) func(r *revocation) error {
		return func(r *revocation) error {
			u, err := r.store.View(gestor.SystemScope()).User(t.Context(), "usr_viewer")
			if err != nil {
				return err
			}
			what(&u)
			x, err := r.store.Begin(t.Context())
			if err != nil {
				return err
			}
			return errors.Join(x.PutUser(t.Context(), u), x.Commit(t.Context(), 8))
		}
	}
	t.Run("narrowed", func(t *testing.T) {
		streamEnds(t, fault.KindUnavailable, change(func(u *gestor.User) { u.Narrow.Environments = []string{"staging"} }))
	})
	t.Run("operator", func(t *testing.T) {
		streamEnds(t, fault.KindUnavailable, change(func(u *gestor.User) { u.Operator = true }))
	})
}

// streamEnds checks that a stream of "viewer" ends, in a certain way, after something has happened to them.
func streamEnds(t *testing.T, with fault.Kind, happens func(*revocation) error) {
	t.Helper()
	tasks, r := &pacedTasks{ask: make(chan struct{}, 1)}, &revocation{}
	begun, later := time.Now(), atomic.Int64{}
	w := newWallOf(t, true, begun, func(d *Deps) {
		engine, ok := d.Engine.(storeEngine)
		if !ok {
			t.Fatal("another engine")
		}
		r.store = engine.Store
		d.Now = func() time.Time { return begun.Add(time.Duration(later.Load())) }
		d.Mounts = []Mount{func(o ...connect.HandlerOption) (string, http.Handler) {
			return gestorv1connect.NewTaskServiceHandler(tasks, o...)
		}}
	})
	t.Cleanup(func() { close(tasks.ask) })
	tasks.ask <- struct{}{} // without a message there is no answer to the call
	c := w.client(t, "viewer")
	stream, err := gestorv1connect.NewTaskServiceClient(c.HTTP, c.URL, c.Options()...).WatchTask(t.Context(), &gestorv1.WatchTaskRequest{Id: "t"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	for range 2 {
		if !stream.Receive() {
			t.Fatalf("who is signed in gets nothing: %v", stream.Err())
		}
		later.Add(int64(2 * time.Second))
		tasks.ask <- struct{}{}
	}
	if !stream.Receive() {
		t.Fatal(stream.Err())
	}
	later.Add(int64(2 * time.Second))
	if err := happens(r); err != nil {
		t.Fatal(err)
	}
	tasks.ask <- struct{}{}
	if stream.Receive() || !errors.Is(stream.Err(), with) {
		t.Errorf("got %v, %v", stream.Msg(), stream.Err())
	}
}
