package server_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server"
)

type running struct {
	address string
	out     bytes.Buffer
	stop    func()
}

func start(t *testing.T, dir string, change ...func(*server.Config)) *running {
	t.Helper()
	r := &running{}
	config := server.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "text"}
	for _, c := range change {
		c(&config)
	}
	s, err := server.New(t.Context(), server.Options{Config: config, Version: "test", Out: &r.out})
	if err != nil {
		t.Fatal(err)
	}
	r.address = s.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	r.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	t.Cleanup(r.stop)
	return r
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

func TestServer_IsClaimedOnceWithTheSecretAndThePinAndRemembersItAfterARestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := start(t, dir)
	secret := read(t, dir, "setup-secret")
	pin, err := hex.DecodeString(read(t, dir, "server-root.pin"))
	if err != nil {
		t.Fatal(err)
	}
	token := ""
	client := rpc.New(rpc.Options{Address: first.address, Pin: pin, Token: func() string { return token }})
	setup := gestorv1connect.NewSetupServiceClient(client.HTTP, client.URL, client.Options()...)
	claim := &gestorv1.ClaimRequest{Secret: "gsu_wrong", TenantName: "Acme", Email: "Ana@Example.com", Password: "correct horse"}
	if _, err := setup.Claim(t.Context(), claim); !errors.Is(err, fault.KindUnauthenticated) {
		t.Fatalf("a wrong secret: got %v", err)
	}
	claim.Secret = secret
	claimed, err := setup.Claim(t.Context(), claim)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "setup-secret")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the used secret is still there: %v", err)
	}
	if _, err := setup.Claim(t.Context(), claim); !errors.Is(err, fault.KindConflict) {
		t.Fatalf("a second claim: got %v", err)
	}
	if client.Revision.Get() == 0 {
		t.Error("answers carry no revision")
	}
	client.Close()
	first.stop()
	if out := first.out.String(); !strings.Contains(out, "--secret "+secret+" --pin "+hex.EncodeToString(pin)) {
		t.Errorf("the start said %q", out)
	}

	second := start(t, dir)
	token = claimed.GetToken()
	client = rpc.New(rpc.Options{Address: second.address, Pin: pin, Token: func() string { return token }})
	defer client.Close()
	sessions := gestorv1connect.NewSessionServiceClient(client.HTTP, client.URL, client.Options()...)
	who, err := sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	if err != nil || who.GetSession().GetEmail() != "ana@example.com" || who.GetSession().GetRole() != gestorv1.Role_ROLE_ADMIN {
		t.Fatalf("got %v, %v", who, err)
	}
	if _, err := sessions.DeleteSession(t.Context(), &gestorv1.DeleteSessionRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := sessions.GetSession(t.Context(), &gestorv1.GetSessionRequest{}); !errors.Is(err, fault.KindUnauthenticated) {
		t.Fatalf("signed out: got %v", err)
	}
	if _, err := sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: "ana@example.com", Password: "wrong"}); !errors.Is(err, fault.KindUnauthenticated) {
		t.Fatalf("a wrong password: got %v", err)
	}
	if _, err := sessions.CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: " ANA@example.com ", Password: "correct horse"}); err != nil {
		t.Fatalf("sign in: %v", err)
	}
	if second.out.Len() != 0 {
		t.Errorf("a claimed server still shows how to claim it: %q", second.out.String())
	}
}

func TestServer_IsRefusedUnderAnotherPin(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "data"))
	client := rpc.New(rpc.Options{Address: s.address, Pin: make([]byte, 32)})
	defer client.Close()
	_, err := gestorv1connect.NewSetupServiceClient(client.HTTP, client.URL, client.Options()...).GetSetup(t.Context(), &gestorv1.GetSetupRequest{})
	if !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "pin") || !strings.Contains(err.Error(), s.address) {
		t.Fatalf("got %v", err)
	}
}

func TestNew_SaysWhatIsWrongWithTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, dir)
	fail := func(want string, c server.Config) {
		t.Helper()
		got, err := server.New(t.Context(), server.Options{Config: c})
		if err == nil {
			_ = got.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	fail("another gestor-server holds", server.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "text"})
	fail("choose another address", server.Config{DataDir: filepath.Join(t.TempDir(), "d"), Listen: s.address, LogLevel: "info", LogFormat: "text"})
	s.stop()
	if err := os.Remove(filepath.Join(dir, "keyring")); err != nil {
		t.Fatal(err)
	}
	fail("put the ring back", server.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "text"})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	fail("chmod 700", server.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "text"})
}

func TestNew_DoesNotBecomeAnEmptyServerWhenItsCopyOfTheStateIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	start(t, dir).stop()
	if err := os.RemoveAll(filepath.Join(dir, "raft")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		prepare func() error
	}{
		{"it is gone", func() error { return nil }},
		{"it is empty", func() error { return os.Mkdir(filepath.Join(dir, "raft"), 0o700) }},
	} {
		if err := c.prepare(); err != nil {
			t.Fatal(err)
		}
		_, err := server.New(t.Context(), server.Options{Config: server.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "text"}})
		if err == nil || !strings.Contains(err.Error(), "gestor-server restore") || !strings.Contains(err.Error(), "servers add --replace") {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
