package api_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mail"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// mailbox is the mail server of a test: what was sent lies in it.
type mailbox struct {
	mu         sync.Mutex
	configured bool
	away       error // what Send answers instead
	unread     bool  // nobody will look into it
	sent       []mail.Message
	arrived    chan struct{}
}

func (m *mailbox) Configured() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.configured
}

func (m *mailbox) Send(_ context.Context, message mail.Message) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.configured {
		return fault.Conflict("this installation sends no e-mail")
	}
	if m.away == nil && !m.unread {
		m.sent = append(m.sent, message)
		m.arrived <- struct{}{}
	}
	return m.away
}

// next waits for the next message.
func (m *mailbox) next(t *testing.T) mail.Message {
	t.Helper()
	select {
	case <-m.arrived:
	case <-t.Context().Done():
		t.Fatal("no mail came")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.sent[0]
	m.sent = m.sent[1:]
	return first
}

// linkIn is the link in a message.
func linkIn(t *testing.T, text string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, publicURL) {
			return line
		}
	}
	t.Fatalf("no link in %q", text)
	return ""
}

func secretOf(t *testing.T, link string) string {
	t.Helper()
	address, secret, ok := strings.Cut(link, "#")
	if !ok || secret == "" || !strings.HasPrefix(address, publicURL+"/") {
		t.Fatalf("no link: %q", link)
	}
	return secret
}

// company is a server with tenant ten_first, of which usr_first (boss@example.com) is administrator and operator, with people
// besides, and tenant ten_other with an administrator.
type company struct {
	*machine
	server    *httptest.Server
	mail      *mailbox
	passwords *auth.Passwords

	mu  sync.Mutex
	now time.Time
}

func (c *company) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *company) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const goodPassword = "correct horse battery"

func newCompany(t testing.TB) *company {
	t.Helper()
	c := &company{
		machine: newMachine(t), mail: &mailbox{arrived: make(chan struct{}, 100)}, passwords: auth.NewPasswords(2), now: time.Now(),
	}
	c.serve(t)
	phc, err := c.passwords.Hash(t.Context(), goodPassword)
	if err != nil {
		t.Fatal(err)
	}
	c.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}})
	c.do(t, command.Claim{
		SetupHash: []byte("h"), TenantID: "ten_first", TenantName: "First", UserID: "usr_first", Email: "boss@example.com", PasswordHash: phc,
	})
	for _, u := range []gestor.User{
		{ID: "usr_admin", Role: gestor.RoleAdmin},
		{ID: "usr_devops", Role: gestor.RoleDevOps},
		{ID: "usr_viewer", Role: gestor.RoleViewer},
		{ID: "usr_other", Role: gestor.RoleAdmin, TenantID: "ten_other"},
	} {
		if u.TenantID == "" {
			u.TenantID = "ten_first"
		}
		u.Email, u.Status, u.PasswordHash = strings.TrimPrefix(string(u.ID), "usr_")+"@example.com", gestor.StatusActive, phc
		c.put(t, func(ctx context.Context, x *state.Txn) error {
			err := error(nil)
			if u.TenantID != "ten_first" {
				err = x.PutTenant(ctx, gestor.Tenant{ID: u.TenantID, Name: "Other", Plan: "free", Status: gestor.StatusActive})
			}
			return errors.Join(err, x.PutUser(ctx, u))
		})
	}
	return c
}

func (c *company) serve(t testing.TB) {
	t.Helper()
	ring, err := secret.Create(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	links := api.Links{Vault: ring, PublicURL: publicURL}
	errands := api.NewErrands(log)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = errands.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	throttle := func(free int) *auth.Throttle {
		return auth.NewThrottle(auth.ThrottleOptions{Free: free, Now: c.clock})
	}
	users := api.NewUserService(api.UserDeps{Engine: c, Links: links, Mail: c.mail, Now: c.clock})
	invitations := api.NewInvitationService(api.InvitationDeps{
		Engine: c, Links: links, Mail: c.mail, Passwords: c.passwords, Guesses: throttle(10), Now: c.clock, Log: log,
	})
	accounts := api.NewAccountService(api.AccountDeps{
		Engine: c, Links: links, Mail: c.mail, Errands: errands, Passwords: c.passwords, Accounts: throttle(5), Networks: throttle(30), Now: c.clock, Log: log,
	})
	sessions := api.NewSessionService(api.SessionDeps{
		Engine: c, Passwords: c.passwords, Accounts: throttle(5), Networks: throttle(30), Codes: throttle(5), Now: c.clock, Log: log,
	})
	handler, err := api.New(api.Deps{
		Engine: c, Changes: c.store.Version, Revision: c.applied.Load, Now: c.clock,
		Agents: pki.AgentVerifier{Roots: x509.NewCertPool(), Cluster: "clu_test", Now: time.Now},
		Mounts: []api.Mount{
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewSessionServiceHandler(sessions, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewUserServiceHandler(users, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewInvitationServiceHandler(invitations, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewAccountServiceHandler(accounts, o...)
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.server = httptest.NewUnstartedServer(handler)
	c.server.EnableHTTP2 = true
	c.server.StartTLS()
	t.Cleanup(c.server.Close)
}

// person is a way to the server, signed in or not.
type person struct {
	sessions    gestorv1connect.SessionServiceClient
	users       gestorv1connect.UserServiceClient
	invitations gestorv1connect.InvitationServiceClient
	account     gestorv1connect.AccountServiceClient
}

// as signs a user in.
func (c *company) as(t *testing.T, id gestor.UserID) person {
	t.Helper()
	token, hash := auth.NewBearer()
	c.put(t, func(ctx context.Context, x *state.Txn) error {
		u, err := x.User(ctx, id)
		if err != nil {
			return err
		}
		now := c.clock()
		return x.PutSession(ctx, gestor.Session{
			ID: gestor.NewID[gestor.SessionID]("ses"), UserID: id, TenantID: u.TenantID, TokenHash: hash, CreatedAt: now, FreshAt: now,
			ExpiresAt: now.Add(7 * 24 * time.Hour),
		})
	})
	return c.with(t, token)
}

// with is a way to the server with a token; nobody's if that is empty.
func (c *company) with(t testing.TB, token string) person {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(c.server.Certificate())
	client := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(c.server.URL, "https://"), ServerName: "example.com", Roots: roots, Version: "test",
		Token: func() string { return token },
	})
	t.Cleanup(client.Close)
	return person{
		sessions:    gestorv1connect.NewSessionServiceClient(client.HTTP, client.URL, client.Options()...),
		users:       gestorv1connect.NewUserServiceClient(client.HTTP, client.URL, client.Options()...),
		invitations: gestorv1connect.NewInvitationServiceClient(client.HTTP, client.URL, client.Options()...),
		account:     gestorv1connect.NewAccountServiceClient(client.HTTP, client.URL, client.Options()...),
	}
}

func (c *company) user(t *testing.T, id gestor.UserID) gestor.User {
	t.Helper()
	u, err := c.View(gestor.SystemScope()).User(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// knows reports whether a password is a user's.
func (c *company) knows(t *testing.T, id gestor.UserID, password string) bool {
	t.Helper()
	ok, err := c.passwords.Verify(t.Context(), c.user(t, id).PasswordHash, password)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

// isOut reports whether a signed-in person is signed out by now.
func isOut(t *testing.T, p person) bool {
	t.Helper()
	_, err := p.account.GetAccount(t.Context(), &gestorv1.GetAccountRequest{})
	if err != nil && fault.KindOf(err) != fault.KindUnauthenticated {
		t.Fatal(err)
	}
	return err != nil
}
