package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

const (
	aRead     = gestorv1connect.AppServiceListAppsProcedure
	aMutation = gestorv1connect.AppServiceDeleteAppProcedure
)

// ask sends an empty message with more headers and returns the answer's headers and Connect code, "" for success.
func (w *wall) ask(t *testing.T, caller, procedure string, more map[string]string) (http.Header, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+procedure, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if token := w.tokens[caller]; token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range more {
		req.Header.Set(k, v)
	}
	return w.do(t, caller, req)
}

func TestConsistency_OnlyReadsOfPeopleWaitForTheLeaderUnlessTheySayLocal(t *testing.T) {
	var barriers atomic.Int32
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Barrier = func(context.Context) error { barriers.Add(1); return nil }
	})
	local, leader := map[string]string{rpc.HeaderConsistency: rpc.ConsistencyLocal}, map[string]string{rpc.HeaderConsistency: rpc.ConsistencyLeader}
	for _, c := range []struct {
		what, caller, procedure string
		more                    map[string]string
		want                    int32
	}{
		{"a read", "viewer", aRead, nil, 1},
		{"a read that says leader", "viewer", aRead, leader, 1},
		{"a read that says local", "viewer", aRead, local, 0},
		{"a mutation", "admin", aMutation, nil, 0},
		{"an agent", "agent", agentv1connect.EnrollmentServiceRenewProcedure, nil, 0},
		{"nobody", "", aRead, nil, 0},
	} {
		barriers.Store(0)
		w.ask(t, c.caller, c.procedure, c.more)
		if got := barriers.Load(); got != c.want {
			t.Errorf("%s: %d barriers, want %d", c.what, got, c.want)
		}
	}
}

func TestConsistency_AWordThatDoesNotExistIsRefused(t *testing.T) {
	w := newWall(t, true, time.Now())
	for _, bad := range []map[string]string{{rpc.HeaderConsistency: "eventual"}, {rpc.HeaderMinRevision: "soon"}} {
		if _, code, text := w.ask(t, "viewer", aRead, bad); code != "invalid_argument" {
			t.Errorf("%v: got %s %s", bad, code, text)
		}
	}
}

func TestConsistency_WithoutALeaderALeaderReadSaysHowToReadAnyway(t *testing.T) {
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Barrier = func(context.Context) error { return fault.Unavailable("no control server leads") }
	})
	header, code, text := w.ask(t, "viewer", aRead, nil)
	if code != "unavailable" || !strings.Contains(text, "--read local") || header.Get("Retry-After") == "" || !strings.Contains(text, "nothingDone") {
		t.Errorf("got %s %s %v", code, text, header)
	}
	if _, code, _ := w.ask(t, "viewer", aRead, map[string]string{rpc.HeaderConsistency: rpc.ConsistencyLocal}); code != "unimplemented" {
		t.Errorf("a local read: %s", code)
	}
}

func TestConsistency_ABarrierThatHangsEnds(t *testing.T) {
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Times.Revision = 50 * time.Millisecond
		d.Barrier = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	})
	if _, code, text := w.ask(t, "viewer", aRead, nil); code != "unavailable" {
		t.Fatalf("got %s %s", code, text)
	}
}

// growingEngine applies something when it is waited for.
type growingEngine struct {
	*state.Store
	Engine
	revision *atomic.Uint64
	apply    func()
}

func (e growingEngine) View(s gestor.Scope) *state.View { return e.Store.View(s) }

func (e growingEngine) Watch(tables ...state.Table) *state.Subscription {
	return e.Store.Watch(tables...)
}

func (e growingEngine) Wait(_ context.Context, revision uint64) error {
	e.apply()
	e.revision.Store(revision)
	return nil
}

// behind is a wall on a server that has not applied the session of "late" yet.
func behind(t *testing.T) (w *wall, waits *atomic.Int32) {
	t.Helper()
	token, hash := auth.NewBearer()
	waits = &atomic.Int32{}
	revision := &atomic.Uint64{}
	revision.Store(7)
	var store *state.Store
	apply := func() {
		if waits.Add(1) > 1 {
			return
		}
		x, err := store.Begin(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		ctx := context.Background()
		late := gestor.Session{ID: "ses_late", UserID: "usr_viewer", TenantID: "ten_1", TokenHash: hash, CreatedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
		if err := errors.Join(x.PutSession(ctx, late), x.Commit(ctx, 8)); err != nil {
			t.Error(err)
		}
		revision.Store(8)
	}
	w = newWallOf(t, true, time.Now(), func(d *Deps) {
		before, ok := d.Engine.(storeEngine)
		if !ok {
			t.Fatal("another engine")
		}
		store = before.Store
		d.Engine = growingEngine{Store: store, Engine: before, revision: revision, apply: apply}
		d.Revision = revision.Load
		d.Barrier = func(context.Context) error { apply(); return nil }
	})
	w.tokens["late"] = token
	return w, waits
}

func TestCatchUp_ASessionMadeOnAnotherServerAMomentAgoIsKnown(t *testing.T) {
	for what, more := range map[string]map[string]string{
		"it names the revision":              {rpc.HeaderMinRevision: "8"},
		"it names it and reads what is here": {rpc.HeaderMinRevision: "8", rpc.HeaderConsistency: rpc.ConsistencyLocal},
		"it names none":                      nil,
	} {
		w, _ := behind(t)
		if _, code, text := w.ask(t, "late", aMutation, more); code != "permission_denied" { // a viewer, and known
			t.Errorf("%s: got %s %s", what, code, text)
		}
	}
}

func TestCatchUp_WithoutAReasonToWaitAnUnknownSessionIsRefusedAtOnce(t *testing.T) {
	w, waits := behind(t)
	if _, code, _ := w.ask(t, "late", aRead, map[string]string{rpc.HeaderConsistency: rpc.ConsistencyLocal}); code != "unauthenticated" || waits.Load() != 0 {
		t.Fatalf("got %s after %d waits", code, waits.Load())
	}
}

func TestCatchUp_StrangersDoNotMakeTheServerAskTheLeaderForever(t *testing.T) {
	w, waits := behind(t)
	codes := map[string]int{}
	for range 100 {
		header, code, _ := w.ask(t, "forged", aRead, nil)
		codes[code]++
		if code == "resource_exhausted" && header.Get("Retry-After") == "" {
			t.Fatal("no word when to come again")
		}
	}
	if got := waits.Load(); got > strangerBurst+2*strangerLooks || codes["resource_exhausted"] == 0 {
		t.Fatalf("%d questions to the leader, answers %v", got, codes)
	}
	if _, code, _ := w.ask(t, "viewer", aRead, nil); code != "unimplemented" {
		t.Fatalf("somebody who is known, from the same address: %s", code)
	}
}

func TestJoining_AServerWithoutTheClustersStateSaysThatItIsNotReady(t *testing.T) {
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		store, err := state.Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = store.Close() })
		d.Engine = storeEngine{store}
	})
	all := specs()
	for procedure := range w.policy {
		for _, caller := range []string{"", "admin", "agent"} {
			if got := w.call(t, caller, procedure, all[procedure].StreamType != connect.StreamTypeUnary); got != "unavailable" {
				t.Errorf("%s as %q: %s", procedure, caller, got)
			}
		}
	}
}

func TestConsistency_LocalReadsEndAMinuteAfterTheLastWordOfALeaderButForThoseThatHelp(t *testing.T) {
	var contact time.Time
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Contact = func() time.Time { return contact }
	})
	local := map[string]string{rpc.HeaderConsistency: rpc.ConsistencyLocal}
	for _, c := range []struct {
		what      string
		contact   time.Time
		procedure string
		refused   bool
	}{
		{"a moment ago", time.Now().Add(-50 * time.Second), aRead, false},
		{"a while ago", time.Now().Add(-70 * time.Second), aRead, true},
		{"never", time.Time{}, aRead, true},
		{"a while ago, and it helps", time.Now().Add(-time.Hour), gestorv1connect.ServerServiceListServersProcedure, false},
	} {
		contact = c.contact
		_, code, text := w.ask(t, "admin", c.procedure, local)
		if refused := code == "unavailable" && strings.Contains(text, "no leader since"); refused != c.refused {
			t.Errorf("%s: got %s %s", c.what, code, text)
		}
	}
}
