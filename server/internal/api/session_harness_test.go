package api_test

import (
	"context"
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/descope/virtualwebauthn"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/secret"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// door is a server that people sign in to, with a clock that the test turns. Its people are of tenant ten_home.
type door struct {
	*machine
	t      *testing.T
	ring   *secret.Ring
	server *httptest.Server

	mu  sync.Mutex
	now time.Time // guarded by mu
}

const (
	rightPassword = "correct horse battery"
	ana           = "ana@example.com" // an administrator
	bia           = "bia@example.com" // a developer of the same tenant
)

func newDoor(t *testing.T) *door {
	t.Helper()
	e := &door{machine: newMachine(t), t: t, now: time.Now().Truncate(time.Second)}
	var err error
	if e.ring, err = secret.Create(filepath.Join(t.TempDir(), "keys")); err != nil {
		t.Fatal(err)
	}
	passwords := auth.NewPasswords(2)
	phc, err := passwords.Hash(t.Context(), rightPassword)
	if err != nil {
		t.Fatal(err)
	}
	e.do(t, command.InitCluster{Cluster: gestor.Cluster{ID: "clu_test", SetupHash: []byte("h")}, Level: 2})
	e.do(t, command.Claim{SetupHash: []byte("h"), TenantID: "ten_home", TenantName: "Home", UserID: "usr_ana", Email: ana, PasswordHash: phc})
	e.put(t, func(ctx context.Context, x *state.Txn) error {
		return x.PutUser(ctx, gestor.User{ID: "usr_bia", TenantID: "ten_home", Email: bia, PasswordHash: phc, Role: gestor.RoleDeveloper, Status: "active"})
	})
	e.serve(passwords)
	return e
}

func (e *door) serve(passwords *auth.Passwords) {
	e.t.Helper()
	passkeys, err := auth.NewPasskeys("", []string{"https://ctl.example:8443"})
	if err != nil {
		e.t.Fatal(err)
	}
	clock := func(o auth.ThrottleOptions) *auth.Throttle {
		o.Now = e.clock
		return auth.NewThrottle(o)
	}
	log := slog.New(slog.NewTextHandler(e.t.Output(), nil))
	sessions := api.NewSessionService(api.SessionDeps{
		Engine: e, Passwords: passwords, Passkeys: passkeys, Sealer: e.ring, Accounts: clock(auth.ThrottleOptions{}),
		Networks: clock(auth.ThrottleOptions{Free: 1000}), Codes: clock(auth.ThrottleOptions{}), Now: e.clock, Log: log,
	})
	factors := api.NewFactorService(api.FactorDeps{Engine: e, Passkeys: passkeys, Sealer: e.ring, Now: e.clock})
	handler, err := api.New(api.Deps{
		Log: log, Engine: e, Changes: e.store.Version, Revision: e.applied.Load, Now: e.clock,
		Agents: pki.AgentVerifier{Roots: x509.NewCertPool(), Cluster: "clu_test", Now: time.Now},
		Mounts: []api.Mount{
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewSessionServiceHandler(sessions, o...)
			},
			func(o ...connect.HandlerOption) (string, http.Handler) {
				return gestorv1connect.NewFactorServiceHandler(factors, o...)
			},
		},
	})
	if err != nil {
		e.t.Fatal(err)
	}
	e.server = httptest.NewUnstartedServer(handler)
	e.server.EnableHTTP2 = true
	e.server.StartTLS()
	e.t.Cleanup(e.server.Close)
}

func (e *door) clock() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.now
}

func (e *door) wait(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now = e.now.Add(d)
}

// guest is somebody at the door, or who has come in with a token.
type guest struct {
	sessions gestorv1connect.SessionServiceClient
	factors  gestorv1connect.FactorServiceClient
}

func (e *door) guest(token string) guest {
	e.t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(e.server.Certificate())
	c := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(e.server.URL, "https://"), ServerName: "example.com", Roots: roots, Version: "test",
		Token: func() string { return token },
	})
	e.t.Cleanup(c.Close)
	return guest{
		sessions: gestorv1connect.NewSessionServiceClient(c.HTTP, c.URL, c.Options()...),
		factors:  gestorv1connect.NewFactorServiceClient(c.HTTP, c.URL, c.Options()...),
	}
}

// password is the first step.
func (e *door) password(email string) *gestorv1.CreateSessionResponse {
	e.t.Helper()
	res, err := e.guest("").sessions.CreateSession(e.t.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: rightPassword})
	if err != nil {
		e.t.Fatal(err)
	}
	return res
}

// in signs in somebody without a second factor.
func (e *door) in(email string) guest {
	e.t.Helper()
	res := e.password(email)
	if res.GetToken() == "" {
		e.t.Fatalf("not signed in: %v", res)
	}
	return e.guest(res.GetToken())
}

// pending is what is under way after a right password.
func (e *door) pending(email string) *gestorv1.SecondFactor {
	e.t.Helper()
	res := e.password(email)
	if res.GetToken() != "" || res.GetSession() != nil || res.GetSecondFactor() == nil {
		e.t.Fatalf("no second factor was asked for: %v", res)
	}
	return res.GetSecondFactor()
}

// complete is the second step.
func (e *door) complete(req *gestorv1.CompleteSessionRequest) (*gestorv1.CompleteSessionResponse, error) {
	return e.guest("").sessions.CompleteSession(e.t.Context(), req)
}

func withCode(pending, code string) *gestorv1.CompleteSessionRequest {
	return &gestorv1.CompleteSessionRequest{Pending: pending, Proof: &gestorv1.CompleteSessionRequest_TotpCode{TotpCode: code}}
}

func withRecovery(pending, code string) *gestorv1.CompleteSessionRequest {
	return &gestorv1.CompleteSessionRequest{Pending: pending, Proof: &gestorv1.CompleteSessionRequest_RecoveryCode{RecoveryCode: code}}
}

func withPasskey(pending, assertion string) *gestorv1.CompleteSessionRequest {
	return &gestorv1.CompleteSessionRequest{Pending: pending, Proof: &gestorv1.CompleteSessionRequest_PasskeyAssertion{PasskeyAssertion: assertion}}
}

// app is an authenticator app.
type app struct {
	e      *door
	secret string
}

// code is what it shows so many steps from now.
func (a app) code(steps int) string {
	a.e.t.Helper()
	code, err := auth.TOTPCode(a.secret, a.e.clock().Add(time.Duration(steps)*auth.TOTPStep))
	if err != nil {
		a.e.t.Fatal(err)
	}
	return code
}

// setUp sets an app up and returns it with the recovery codes.
func (e *door) setUp(g guest) (app, []string) {
	e.t.Helper()
	begun, err := g.factors.BeginTOTP(e.t.Context(), &gestorv1.BeginTOTPRequest{})
	if err != nil {
		e.t.Fatal(err)
	}
	a := app{e, strings.ReplaceAll(begun.GetSecret(), " ", "")}
	res, err := g.factors.ConfirmTOTP(e.t.Context(), &gestorv1.ConfirmTOTPRequest{Pending: begun.GetPending(), Code: a.code(0), RequestId: begun.GetSecret()})
	if err != nil {
		e.t.Fatal(err)
	}
	return a, res.GetRecoveryCodes()
}

// wholeKey is the length of a P-256 key as devices write it.
const wholeKey = 77

// device is a passkey of a browser.
type device struct {
	e    *door
	rp   virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	cred virtualwebauthn.Credential
}

func (e *door) device(user string, verifies bool) *device {
	d := &device{
		e: e, rp: virtualwebauthn.RelyingParty{ID: "ctl.example", Name: "Gestor", Origin: "https://ctl.example:8443"},
		auth: virtualwebauthn.NewAuthenticatorWithOptions(virtualwebauthn.AuthenticatorOptions{UserHandle: []byte(user), UserNotVerified: !verifies}),
		cred: virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2),
	}
	for len(d.cred.Key.AttestationData()) != wholeKey { // the library leaves zeros out that open a coordinate, which no device does
		d.cred = virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2)
	}
	d.cred.Counter = 1
	d.auth.AddCredential(d.cred)
	return d
}

// register makes a credential for options.
func (d *device) register(options string) string {
	d.e.t.Helper()
	o, err := virtualwebauthn.ParseAttestationOptions(`{"publicKey":` + options + `}`)
	if err != nil {
		d.e.t.Fatal(err)
	}
	return virtualwebauthn.CreateAttestationResponse(d.rp, d.auth, d.cred, *o)
}

// answer signs the challenge of options.
func (d *device) answer(options string) string {
	d.e.t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(`{"publicKey":` + options + `}`)
	if err != nil {
		d.e.t.Fatal(err)
	}
	d.cred.Counter++
	return virtualwebauthn.CreateAssertionResponse(d.rp, d.auth, d.cred, *o)
}

// enrol registers the passkey for a guest.
func (d *device) enrol(g guest, name string) *gestorv1.ConfirmPasskeyResponse {
	d.e.t.Helper()
	begun, err := g.factors.BeginPasskey(d.e.t.Context(), &gestorv1.BeginPasskeyRequest{})
	if err != nil {
		d.e.t.Fatal(err)
	}
	res, err := g.factors.ConfirmPasskey(d.e.t.Context(), &gestorv1.ConfirmPasskeyRequest{
		Pending: begun.GetPending(), Credential: d.register(begun.GetOptions()), Name: name, RequestId: name + string(d.auth.Options.UserHandle),
	})
	if err != nil {
		d.e.t.Fatal(err)
	}
	return res
}
