package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/crypto/ssh"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/leaktest"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// house is a whole server with log files, whose every answer is kept.
type house struct {
	t       *testing.T
	dir     string
	logs    string
	out     bytes.Buffer // what it prints; guarded by mu, like what follows
	mu      sync.Mutex
	answers bytes.Buffer
	once    bool // what is answered now is shown this once, and not kept
	token   string
	client  *rpc.Client
	secrets map[string]string
}

// Write keeps what the program logs to standard error.
func (h *house) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.answers.Write(p)
}

// WrapUnary keeps answers and errors.
func (h *house) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		h.mu.Lock()
		defer h.mu.Unlock()
		if err != nil {
			h.answers.WriteString(err.Error())
		} else if m, ok := res.Any().(proto.Message); ok && !h.once {
			text, _ := protojson.Marshal(m)
			raw, _ := proto.Marshal(m)
			h.answers.Write(text)
			h.answers.Write(raw)
		}
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (h *house) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (h *house) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (h *house) options() []connect.ClientOption {
	return append(h.client.Options(), connect.WithInterceptors(h))
}

// shown runs a call whose answer is shown once.
func (h *house) shown(call func() error) {
	h.t.Helper()
	h.mu.Lock()
	h.once = true
	h.mu.Unlock()
	if err := call(); err != nil {
		h.t.Fatal(err)
	}
	h.mu.Lock()
	h.once = false
	h.mu.Unlock()
}

// must takes what a call returned.
func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// secretText is something nobody writes by accident, with all that has to be escaped somewhere.
func secretText(what string) string { return what + ` "\ &<é> ` + rand.Text() }

func newHouse(t *testing.T) *house {
	t.Helper()
	root := t.TempDir()
	h := &house{t: t, dir: filepath.Join(root, "data"), logs: filepath.Join(root, "log"), secrets: map[string]string{}}
	c := server.Config{DataDir: h.dir, Listen: "127.0.0.1:0", LogLevel: "debug", LogFormat: "json", LogDir: h.logs}
	log, files, err := server.OpenLogs(c, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	s, err := server.New(t.Context(), server.Options{
		Config: c, Version: "test", Out: &h.out, Log: log.With(slog.String("test", t.Name())), Files: files, Tuning: server.Tuning{SnapshotAfter: 10, Keys: 50 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	h.secrets["the setup secret"] = read(t, h.dir, "setup-secret")
	pin := must[[]byte](t)(hex.DecodeString(read(t, h.dir, "server-root.pin")))
	h.client = rpc.New(rpc.Options{Address: s.Addr().String(), Pin: pin, Token: func() string { return h.token }})
	t.Cleanup(h.client.Close)
	return h
}

// door is a way for a secret into a server. Whatever can take or make one has a line here.
type door struct {
	name string
	open func(t *testing.T, h *house)
}

func doors() []door {
	return []door{
		{"the first password, and a session", claimWithSecret},
		{"variables: set, replaced, removed and gone back to", putVariables},
		{"a variable that is refused", refusedVariables},
		{"wrong passwords and tokens", wrongProofs},
		{"a personal token", personalToken},
		{"another password", otherPassword},
		{"join tokens", joinTokens},
		{"the key of a channel", channelSecret},
		{"a second factor", secondFactor},
	}
}

func claimWithSecret(t *testing.T, h *house) {
	t.Helper()
	h.secrets["the password"] = secretText("password")
	setup := gestorv1connect.NewSetupServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	h.shown(func() error {
		res, err := setup.Claim(t.Context(), &gestorv1.ClaimRequest{
			Secret: h.secrets["the setup secret"], TenantName: "Acme", Email: "ana@example.com", Password: h.secrets["the password"],
		})
		h.token, h.secrets["the session"] = res.GetToken(), res.GetToken()
		return err
	})
}

func (h *house) apps() gestorv1connect.AppServiceClient {
	return gestorv1connect.NewAppServiceClient(h.client.HTTP, h.client.URL, h.options()...)
}

func putVariables(t *testing.T, h *house) {
	t.Helper()
	_ = must[*gestorv1.CreateAppResponse](t)(h.apps().CreateApp(t.Context(), &gestorv1.CreateAppRequest{
		Slug: "shop", Settings: &gestorv1.AppSettings{Repository: "https://example.com/shop"},
	}))
	set := func(values map[string]string, unset ...string) {
		for name, value := range values {
			h.secrets["variable "+name+" "+value[:5]] = value
		}
		_ = must[*gestorv1.UpdateEnvResponse](t)(h.apps().UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: values, Unset: unset}))
	}
	set(map[string]string{"A": secretText("one"), "B": secretText("two")})
	set(map[string]string{"A": secretText("three")}, "B")
	_ = must[*gestorv1.RollbackEnvResponse](t)(h.apps().RollbackEnv(t.Context(), &gestorv1.RollbackEnvRequest{App: "shop", Version: 2}))
	h.shown(func() error {
		res, err := h.apps().RevealEnv(t.Context(), &gestorv1.RevealEnvRequest{App: "shop"})
		if len(res.GetValues()) != 2 {
			t.Errorf("revealed %d values", len(res.GetValues()))
		}
		return err
	})
	_ = must[*gestorv1.ExportEnvResponse](t)(h.apps().ExportEnv(t.Context(), &gestorv1.ExportEnvRequest{
		App: "shop", Recipients: []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"},
	}))
	for i := range 15 { // enough for a snapshot
		_ = must[*gestorv1.UpdateEnvResponse](t)(h.apps().UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: map[string]string{"N": fmt.Sprint(i)}}))
	}
}

func refusedVariables(t *testing.T, h *house) {
	t.Helper()
	h.secrets["a refused variable"] = secretText("refused")
	for name, value := range map[string]string{"PATH": h.secrets["a refused variable"], "NUL": h.secrets["a refused variable"] + "\x00", "not a name": h.secrets["a refused variable"]} {
		if _, err := h.apps().UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: map[string]string{name: value}}); err == nil {
			t.Errorf("%s was set", name)
		}
	}
	body, err := json.Marshal(map[string]any{"app": "shop", "sett": map[string]string{"A": h.secrets["a refused variable"]}})
	if err != nil {
		t.Fatal(err)
	}
	req := must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodPost, h.client.URL+gestorv1connect.AppServiceUpdateEnvProcedure, bytes.NewReader(body)))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+h.token)
	res := must[*http.Response](t)(h.client.HTTP.Do(req))
	defer res.Body.Close()
	var text bytes.Buffer
	_, _ = text.ReadFrom(res.Body)
	_, _ = h.Write(text.Bytes())
}

func wrongProofs(t *testing.T, h *house) {
	t.Helper()
	h.secrets["a wrong password"], h.secrets["a wrong token"] = secretText("wrong"), "gst_"+rand.Text()
	sessions := gestorv1connect.NewSessionServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	for _, email := range []string{"ana@example.com", "nobody@example.com"} {
		if _, err := sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: h.secrets["a wrong password"]}); err == nil {
			t.Error("a wrong password signed in")
		}
	}
	own := h.token
	h.token = h.secrets["a wrong token"]
	if _, err := h.apps().ListApps(t.Context(), &gestorv1.ListAppsRequest{}); err == nil {
		t.Error("a wrong token works")
	}
	h.token = own
}

func personalToken(t *testing.T, h *house) {
	t.Helper()
	tokens := gestorv1connect.NewTokenServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	h.shown(func() error {
		res, err := tokens.CreateToken(t.Context(), &gestorv1.CreateTokenRequest{Settings: &gestorv1.TokenSettings{Name: "ci"}})
		h.secrets["a personal token"] = res.GetSecret()
		return err
	})
	own := h.token
	h.token = h.secrets["a personal token"]
	_ = must[*gestorv1.ListAppsResponse](t)(h.apps().ListApps(t.Context(), &gestorv1.ListAppsRequest{}))
	h.token = own
	_ = must[*gestorv1.ListTokensResponse](t)(tokens.ListTokens(t.Context(), &gestorv1.ListTokensRequest{}))
}

func otherPassword(t *testing.T, h *house) {
	t.Helper()
	h.secrets["the second password"] = secretText("second")
	accounts := gestorv1connect.NewAccountServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	_ = must[*gestorv1.ChangePasswordResponse](t)(accounts.ChangePassword(t.Context(), &gestorv1.ChangePasswordRequest{
		OldPassword: h.secrets["the password"], NewPassword: h.secrets["the second password"],
	}))
}

func joinTokens(t *testing.T, h *house) {
	t.Helper()
	servers := gestorv1connect.NewServerServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	nodes := gestorv1connect.NewNodeServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	last := func(token string) string { return token[strings.LastIndexByte(token, '.')+1:] }
	h.shown(func() error {
		res, err := servers.CreateServerToken(t.Context(), &gestorv1.CreateServerTokenRequest{})
		h.secrets["a server token"] = last(res.GetToken())
		return err
	})
	h.shown(func() error {
		res, err := nodes.CreateJoinToken(t.Context(), &gestorv1.CreateJoinTokenRequest{Name: "web1"})
		h.secrets["a node token"] = last(res.GetToken())
		return err
	})
}

func channelSecret(t *testing.T, h *house) {
	t.Helper()
	h.secrets["the key of a channel"] = "signing-key-" + rand.Text()
	channels := gestorv1connect.NewChannelServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	_ = must[*gestorv1.CreateChannelResponse](t)(channels.CreateChannel(t.Context(), &gestorv1.CreateChannelRequest{
		Kind: gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK, Secret: h.secrets["the key of a channel"],
		Settings: &gestorv1.ChannelSettings{Name: "hook", Address: "https://hooks.example.com/x"},
	}))
	_ = must[*gestorv1.ListChannelsResponse](t)(channels.ListChannels(t.Context(), &gestorv1.ListChannelsRequest{}))
}

func secondFactor(t *testing.T, h *house) {
	t.Helper()
	factors := gestorv1connect.NewFactorServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	h.shown(func() error {
		begun, err := factors.BeginTOTP(t.Context(), &gestorv1.BeginTOTPRequest{})
		if err != nil {
			return err
		}
		key := strings.ReplaceAll(begun.GetSecret(), " ", "")
		h.secrets["the second factor"] = key
		code, err := auth.TOTPCode(key, time.Now())
		if err != nil {
			return err
		}
		res, err := factors.ConfirmTOTP(t.Context(), &gestorv1.ConfirmTOTPRequest{Pending: begun.GetPending(), Code: code})
		for i, c := range res.GetRecoveryCodes() {
			h.secrets[fmt.Sprint("recovery code ", i)] = c
		}
		return err
	})
}

// insides are secrets that the server made for itself and never shows, opened with the ring as it could.
func (h *house) insides() {
	h.t.Helper()
	ring := must[*secret.Ring](h.t)(secret.Open(filepath.Join(h.dir, "keyring")))
	for _, id := range ring.IDs() {
		k, _ := ring.Export(id)
		h.secrets["the key "+id] = string(k.Raw)
	}
	files := must[[]string](h.t)(filepath.Glob(filepath.Join(h.dir, "state", "state-*.db")))
	if len(files) == 0 {
		files = must[[]string](h.t)(filepath.Glob(filepath.Join(h.dir, "*", "state-*.db")))
	}
	db := must[*sql.DB](h.t)(sql.Open("sqlite", "file:"+files[len(files)-1]))
	defer db.Close()
	var app gestor.AppID
	var sealed, root []byte
	if err := db.QueryRowContext(h.t.Context(), "SELECT id, deploy_key_sealed FROM applications").Scan(&app, &sealed); err != nil {
		h.t.Fatal(err)
	}
	pem := must[[]byte](h.t)(ring.Open(sealed, gestor.DeployKeyPlace(app)))
	key := must[any](h.t)(ssh.ParseRawPrivateKey(pem))
	if seeded, ok := key.(interface{ Seed() []byte }); ok {
		h.secrets["the deploy key"] = string(seeded.Seed())
	} else {
		h.t.Fatalf("the deploy key is a %T", key)
	}
	if err := db.QueryRowContext(h.t.Context(), "SELECT agent_root_key FROM cluster").Scan(&root); err != nil {
		h.t.Fatal(err)
	}
	h.secrets["the key of the agents' root"] = string(must[[]byte](h.t)(ring.Open(root, gestor.AgentRootPlace)))
}

func (h *house) backup() []byte {
	h.t.Helper()
	servers := gestorv1connect.NewServerServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	stream, err := servers.Backup(h.t.Context(), &gestorv1.BackupRequest{})
	if err != nil {
		h.t.Fatal(err)
	}
	var all bytes.Buffer
	for stream.Receive() {
		all.Write(stream.Msg().GetData())
	}
	if err := errors.Join(stream.Err(), stream.Close()); err != nil || all.Len() == 0 {
		h.t.Fatalf("a backup of %d bytes: %v", all.Len(), err)
	}
	return all.Bytes()
}

func TestSecrets_AreNowhereInClearWhateverDoorTheyCameThrough(t *testing.T) {
	h := newHouse(t)
	for _, d := range doors() {
		t.Log(d.name)
		d.open(t, h)
	}
	audit := gestorv1connect.NewAuditServiceClient(h.client.HTTP, h.client.URL, h.options()...)
	_ = must[*gestorv1.ListAuditResponse](t)(audit.ListAudit(t.Context(), &gestorv1.ListAuditRequest{}))
	_ = must[*gestorv1.ListEnvResponse](t)(h.apps().ListEnv(t.Context(), &gestorv1.ListEnvRequest{App: "shop"}))
	_ = must[*gestorv1.ListEnvVersionsResponse](t)(h.apps().ListEnvVersions(t.Context(), &gestorv1.ListEnvVersionsRequest{App: "shop"}))
	saved := filepath.Join(filepath.Dir(h.dir), "saved")
	if err := os.MkdirAll(saved, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(saved, "backup"), h.backup(), 0o600); err != nil {
		t.Fatal(err)
	}
	h.insides()

	h.mu.Lock()
	texts := map[string][]byte{"answers and output": bytes.Clone(h.answers.Bytes())}
	h.mu.Unlock()
	if len(h.secrets) < 15 || len(texts["answers and output"]) < 1000 {
		t.Fatalf("%d secrets and %d bytes of answers prove nothing", len(h.secrets), len(texts["answers and output"]))
	}
	dirs := []string{h.dir, h.logs, saved}
	found, err := leaktest.Search(dirs, texts, h.secrets, "keyring")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		t.Error(f)
	}
	// The same search finds what is there: the keys in the ring, and a name that is in every backup.
	if found, err = leaktest.Search(dirs, texts, h.secrets); err != nil || len(found) == 0 {
		t.Errorf("the keys were not found in their own file: %v", err)
	}
	for _, there := range []string{saved, h.dir, h.logs} {
		if found, err = leaktest.Search([]string{there}, nil, map[string]string{"a name": "ana@example.com"}); err != nil || len(found) == 0 {
			t.Errorf("the search does not see into %s: %v", there, err)
		}
	}
}
