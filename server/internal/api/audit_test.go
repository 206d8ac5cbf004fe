package api_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/audit"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// auditWorld is a server with the audit service, and people of two tenants.
type auditWorld struct {
	*machine
	t        *testing.T
	server   *httptest.Server
	blobs    *blob.Store
	attempts *attempts
}

// attempts keeps what was refused.
type attempts struct {
	mu  sync.Mutex
	all []api.RefusedAttempt
}

func (a *attempts) Refused(_ context.Context, t api.RefusedAttempt) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.all = append(a.all, t)
}

func newAuditWorld(t *testing.T) *auditWorld {
	t.Helper()
	w := &auditWorld{machine: newMachine(t), t: t, attempts: &attempts{}}
	w.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}, Level: 2})
	w.do(t, command.Claim{SetupHash: []byte("h"), TenantID: "ten_first", TenantName: "First", UserID: "usr_first", Email: "a@first.example"})
	var err error
	if w.blobs, err = blob.Open(blob.Options{Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.blobs.Close() })
	service := api.NewAuditService(api.AuditDeps{Engine: w, Blobs: w.blobs})
	sessions := api.NewSessionService(api.SessionDeps{
		Engine: w, Passwords: auth.NewPasswords(1), Attempts: w.attempts, Accounts: auth.NewThrottle(auth.ThrottleOptions{Free: 1}),
		Networks: auth.NewThrottle(auth.ThrottleOptions{}), Now: time.Now, Log: slog.New(slog.DiscardHandler),
	})
	handler, err := api.New(api.Deps{
		Engine: w, Changes: w.store.Version, Revision: w.applied.Load, Attempts: w.attempts,
		Agents: pki.AgentVerifier{Roots: x509.NewCertPool(), Cluster: "clu_test", Now: time.Now},
		Mounts: []api.Mount{
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewAuditServiceHandler(service, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewSessionServiceHandler(sessions, o...)
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.server = httptest.NewUnstartedServer(handler)
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

// person signs somebody in.
func (w *auditWorld) person(user gestor.User) gestorv1connect.AuditServiceClient {
	w.t.Helper()
	token, hash := auth.NewBearer()
	user.Email, user.Status = string(user.ID)+"@example.com", gestor.StatusActive
	w.put(w.t, func(ctx context.Context, x *state.Txn) error {
		return errors.Join(
			x.PutTenant(ctx, gestor.Tenant{ID: user.TenantID, Name: string(user.TenantID), Plan: "free", Status: gestor.StatusActive}),
			x.PutUser(ctx, user),
			x.PutSession(ctx, gestor.Session{
				ID: gestor.SessionID("ses_" + user.ID), UserID: user.ID, TenantID: user.TenantID, TokenHash: hash,
				CreatedAt: time.Now(), FreshAt: time.Now(), SeenAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
			}),
		)
	})
	roots := x509.NewCertPool()
	roots.AddCert(w.server.Certificate())
	c := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(w.server.URL, "https://"), ServerName: "example.com", Roots: roots, Version: "test", Token: func() string { return token },
	})
	w.t.Cleanup(c.Close)
	return gestorv1connect.NewAuditServiceClient(c.HTTP, c.URL, c.Options()...)
}

// note writes an entry of a tenant.
func (w *auditWorld) note(tenant gestor.TenantID, n int) {
	w.t.Helper()
	actor := gestor.Actor{Kind: "user", ID: "usr_" + string(tenant), Name: "who@" + string(tenant), TenantID: tenant, Action: "app.update", Address: "192.0.2.1"}
	w.do(w.t, command.RecordAudit{Entries: []gestor.AuditEntry{{
		TenantID: tenant, At: time.Now(), Actor: actor, Action: actor.Action, Object: fmt.Sprint("app_", n), Severity: gestor.AuditInfo, Outcome: gestor.OutcomeDone,
		Detail: `{"of":"` + string(tenant) + `"}`,
	}}})
}

func (w *auditWorld) admin(tenant gestor.TenantID) gestor.User {
	return gestor.User{ID: gestor.UserID("usr_admin_" + tenant), TenantID: tenant, Role: gestor.RoleAdmin}
}

func TestListAudit_ShowsATenantItsOwnAndNoOther(t *testing.T) {
	w := newAuditWorld(t)
	one := w.person(w.admin("ten_one"))
	for i := range 5 {
		w.note("ten_one", i)
		w.note("ten_two", i)
	}
	res, err := one.ListAudit(t.Context(), &gestorv1.ListAuditRequest{Page: &gestorv1.PageRequest{Size: 2}})
	if err != nil || len(res.GetEntries()) != 2 || res.GetEntries()[0].GetObject() != "app_4" || res.GetPage().GetNextToken() == "" {
		t.Fatalf("got %v, %v", res, err)
	}
	if text := res.String(); strings.Contains(text, "ten_two") || res.GetEntries()[0].GetHash() == "" {
		t.Errorf("got %s", text)
	}
	res, err = one.ListAudit(t.Context(), &gestorv1.ListAuditRequest{Filter: &gestorv1.AuditFilter{Object: "app_3", Action: "app."}})
	if err != nil || len(res.GetEntries()) != 1 {
		t.Errorf("got %v, %v", res, err)
	}
	for name, call := range map[string]func() error{
		"ListPlatformAudit": func() error {
			_, err := one.ListPlatformAudit(t.Context(), &gestorv1.ListPlatformAuditRequest{})
			return err
		},
		"ListAuditYears": func() error {
			_, err := one.ListAuditYears(t.Context(), &gestorv1.ListAuditYearsRequest{})
			return err
		},
		"VerifyAudit": func() error {
			s, err := one.VerifyAudit(t.Context(), &gestorv1.VerifyAuditRequest{})
			return streamed(s, err)
		},
		"ExportPlatformAudit": func() error {
			s, err := one.ExportPlatformAudit(t.Context(), &gestorv1.ExportPlatformAuditRequest{})
			return streamed(s, err)
		},
	} {
		if err := call(); !errors.Is(err, fault.KindDenied) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// streamed reads a stream to its end.
func streamed[T any](s *connect.ServerStreamForClient[T], err error) error {
	if err != nil {
		return err
	}
	for s.Receive() {
	}
	return errors.Join(s.Err(), s.Close())
}

func TestAudit_IsNotForWhoIsKeptToSomeAppsOrMayNotReadIt(t *testing.T) {
	w := newAuditWorld(t)
	narrow := w.admin("ten_one")
	narrow.ID, narrow.Narrow = "usr_narrow", gestor.Narrowing{Apps: []gestor.AppID{"app_1"}}
	viewer := gestor.User{ID: "usr_viewer", TenantID: "ten_one", Role: gestor.RoleViewer}
	w.note("ten_one", 1)
	for _, c := range []gestorv1connect.AuditServiceClient{w.person(narrow), w.person(viewer)} {
		_, err := c.ListAudit(t.Context(), &gestorv1.ListAuditRequest{})
		watch, err2 := c.WatchAudit(t.Context(), &gestorv1.WatchAuditRequest{Last: 1})
		export, err3 := c.ExportAudit(t.Context(), &gestorv1.ExportAuditRequest{})
		for _, err := range []error{err, streamed(watch, err2), streamed(export, err3)} {
			if !errors.Is(err, fault.KindDenied) {
				t.Errorf("got %v", err)
			}
		}
	}
	w.attempts.mu.Lock()
	defer w.attempts.mu.Unlock()
	all := w.attempts.all
	if len(all) != 3 || all[0].Actor.ID != "usr_viewer" || all[0].Tenant != "ten_one" || all[0].Reason != "permission" || !strings.HasSuffix(all[0].Procedure, "ListAudit") {
		t.Errorf("the audit log was told of %+v", all)
	}
}

func TestCreateSession_TellsTheAuditLogOfWhatFailedButNotWhatWasTyped(t *testing.T) {
	w := newAuditWorld(t)
	w.person(w.admin("ten_one"))
	c := gestorv1connect.NewSessionServiceClient(w.server.Client(), w.server.URL)
	for _, email := range []string{"usr_admin_ten_one@example.com", "hunter2@example.com", "usr_admin_ten_one@example.com", "usr_admin_ten_one@example.com"} {
		_, err := c.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: "wrong-password"})
		if err == nil {
			t.Fatal("a wrong password let somebody in")
		}
	}
	w.attempts.mu.Lock()
	defer w.attempts.mu.Unlock()
	all := w.attempts.all
	if len(all) != 4 || strings.Contains(fmt.Sprintf("%+v", all), "hunter2") || strings.Contains(fmt.Sprintf("%+v", all), "wrong-password") {
		t.Fatalf("got %+v", all)
	}
	known, unknown, often := all[0], all[1], all[3]
	if known.Tenant != "ten_one" || known.Object != "usr_admin_ten_one" || known.Reason != "password" || known.Actor.Action != "session.create" {
		t.Errorf("of an account that is there: %+v", known)
	}
	if unknown.Tenant != "" || unknown.Object != "" || often.Reason != "too_often" {
		t.Errorf("got %+v and %+v", unknown, often)
	}
}

func TestListPlatformAudit_MasksWhatIsOtherTenants(t *testing.T) {
	w := newAuditWorld(t)
	operator := w.admin("ten_one")
	operator.Operator = true
	c := w.person(operator)
	w.note("ten_one", 1)
	w.note("ten_two", 2)
	w.note("", 3)
	res, err := c.ListPlatformAudit(t.Context(), &gestorv1.ListPlatformAuditRequest{})
	if err != nil || len(res.GetEntries()) != 3 {
		t.Fatalf("got %v, %v", res, err)
	}
	installation, foreign, own := res.GetEntries()[0], res.GetEntries()[1], res.GetEntries()[2]
	if installation.GetMasked() || installation.GetObject() != "app_3" || own.GetMasked() || own.GetDetail() == "" {
		t.Errorf("got %v", res)
	}
	if !foreign.GetMasked() || foreign.GetObject()+foreign.GetDetail()+foreign.GetActor().GetName()+foreign.GetActor().GetAddress() != "" || foreign.GetAction() != "app.update" {
		t.Errorf("got %v", foreign)
	}
	for name, f := range map[string]*gestorv1.AuditFilter{"object": {Object: "app_2"}, "name": {Actor: "who@ten_two"}} {
		res, err := c.ListPlatformAudit(t.Context(), &gestorv1.ListPlatformAuditRequest{Filter: f})
		if err != nil || len(res.GetEntries()) != 0 {
			t.Errorf("a search by %s tells what is hidden: %v, %v", name, res, err)
		}
	}
	if res, err := c.ListPlatformAudit(t.Context(), &gestorv1.ListPlatformAuditRequest{TenantId: "ten_two"}); err != nil || len(res.GetEntries()) != 1 {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestExportAudit_IsCheckedWithoutAServerAndIsAnEntry(t *testing.T) {
	w := newAuditWorld(t)
	operator := w.admin("ten_one")
	operator.Operator = true
	c := w.person(operator)
	for i := range 300 {
		w.note([]gestor.TenantID{"ten_one", "ten_two"}[i%2], i)
	}
	own, err := c.ExportAudit(t.Context(), &gestorv1.ExportAuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	for own.Receive() {
		file.Write(own.Msg().GetData())
	}
	lines := checkLines(t, &file, true)
	if err := own.Err(); err != nil || len(lines) != 151 || lines[150].Action != "audit.export" || lines[150].Severity != "notice" {
		t.Errorf("%d lines, %v", len(lines), err)
	}
	all, err := c.ExportPlatformAudit(t.Context(), &gestorv1.ExportPlatformAuditRequest{})
	if err != nil {
		t.Fatal(err)
	}
	file.Reset()
	for all.Receive() {
		file.Write(all.Msg().GetData())
	}
	if strings.Contains(file.String(), "who@ten_two") {
		t.Error("an export shows what a list does not")
	}
	if lines := checkLines(t, &file, false); all.Err() != nil || len(lines) != 302 {
		t.Errorf("%d lines, %v", len(lines), all.Err())
	}
}

func checkLines(t *testing.T, file io.Reader, partial bool) []auditlog.Line {
	t.Helper()
	chain := auditlog.Chain{Partial: partial}
	var lines []auditlog.Line
	err := auditlog.Read(file, func(l *auditlog.Line) error {
		lines = append(lines, *l)
		for _, p := range chain.Add(l) {
			t.Error(p)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestWatchAudit_SendsWhatIsWrittenAndGoesOnWhereItWas(t *testing.T) {
	w := newAuditWorld(t)
	c := w.person(w.admin("ten_one"))
	for i := range 4 {
		w.note("ten_one", i)
		w.note("ten_two", i)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := c.WatchAudit(ctx, &gestorv1.WatchAuditRequest{Last: 2})
	if err != nil || !s.Receive() {
		t.Fatal(err, s.Err())
	}
	first := s.Msg().GetEntries()
	if len(first) != 2 || first[0].GetObject() != "app_2" || first[1].GetObject() != "app_3" {
		t.Errorf("got %v", first)
	}
	w.note("ten_two", 9)
	w.note("ten_one", 10)
	if !s.Receive() || s.Msg().GetEntries()[0].GetObject() != "app_10" {
		t.Errorf("got %v, %v", s.Msg(), s.Err())
	}
	again, err := c.WatchAudit(ctx, &gestorv1.WatchAuditRequest{Last: 2, AfterSeq: first[0].GetSeq()})
	if err != nil || !again.Receive() || len(again.Msg().GetEntries()) != 2 {
		t.Errorf("got %v, %v", again.Msg(), again.Err())
	}
}

func TestVerifyAudit_SaysThatAllIsWellOrTellsTheAuditLogThatItIsNot(t *testing.T) {
	w := newAuditWorld(t)
	operator := w.admin("ten_one")
	operator.Operator = true
	c := w.person(operator)
	for i := range 1200 {
		w.note("ten_two", i)
	}
	last := verified(t, c, nil)
	if last.GetProblemCount() != 0 || last.GetChecked() != 1200 || last.GetHead().GetSeq() != 1200 {
		t.Fatalf("got %v", last)
	}
	wrong := &gestorv1.AuditHead{Seq: 600, Hash: last.GetHead().GetHash()}
	if last := verified(t, c, wrong); last.GetProblemCount() != 1 {
		t.Fatalf("got %v", last)
	}
	res, err := c.ListPlatformAudit(t.Context(), &gestorv1.ListPlatformAuditRequest{Filter: &gestorv1.AuditFilter{Severity: gestorv1.AuditSeverity_AUDIT_SEVERITY_CRITICAL}})
	if err != nil || len(res.GetEntries()) != 1 || res.GetEntries()[0].GetAction() != "audit.damage" || !strings.Contains(res.GetEntries()[0].GetDetail(), `"first":600`) {
		t.Errorf("got %v, %v", res, err)
	}
	s, err := c.VerifyAudit(t.Context(), &gestorv1.VerifyAuditRequest{Head: &gestorv1.AuditHead{Seq: 1, Hash: "zz"}})
	if err := streamed(s, err); !errors.Is(err, fault.KindInvalid) {
		t.Errorf("got %v", err)
	}
	years, err := c.ListAuditYears(t.Context(), &gestorv1.ListAuditYearsRequest{})
	if err != nil || len(years.GetYears()) != 1 || years.GetYears()[0].GetEntries() != 1201 {
		t.Errorf("got %v, %v", years, err)
	}
}

func verified(t *testing.T, c gestorv1connect.AuditServiceClient, head *gestorv1.AuditHead) *gestorv1.VerifyAuditResponse {
	t.Helper()
	s, err := c.VerifyAudit(t.Context(), &gestorv1.VerifyAuditRequest{Head: head})
	if err != nil {
		t.Fatal(err)
	}
	var last *gestorv1.VerifyAuditResponse
	for s.Receive() {
		last = s.Msg()
	}
	if s.Err() != nil || !last.GetDone() {
		t.Fatalf("got %v, %v", last, s.Err())
	}
	return last
}

var _ audit.Blobs = (*blob.Store)(nil)
