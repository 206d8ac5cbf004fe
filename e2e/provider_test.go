package e2e_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
)

const (
	idpPassword = "a word for elsewhere"
	idpClient   = "gestor"
	idpSecret   = "shared with gestor"
)

// people are who the provider knows.
type people map[string]*storage.User

func (p people) GetUserByID(id string) *storage.User { return p[id] }

func (p people) GetUserByUsername(name string) *storage.User { return p[name] }

func (p people) ExampleClientID() string { return "nobody" }

// provider is a real provider of OpenID Connect.
type provider struct {
	Issuer string
	People people
}

func startProvider(t *testing.T, gestor string) provider {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	p := provider{Issuer: "http://" + l.Addr().String(), People: people{}}
	for name, verified := range map[string]bool{"dora": true, "eve": false, "admin": true} {
		domain := "firm.example"
		if name == "admin" {
			domain = "example.com"
		}
		p.People[name] = &storage.User{
			ID: name, Username: name, Password: idpPassword, FirstName: name, LastName: "Silva", Email: name + "@" + domain, EmailVerified: verified,
		}
	}
	client := storage.WebClient(idpClient, idpSecret, gestor+"/oidc/callback")
	store := storage.NewStorageWithClients(p.People, map[string]*storage.Client{idpClient: client})
	server := httptest.NewUnstartedServer(http.Handler(exampleop.SetupServer(p.Issuer, store, nil, false)))
	must(t, server.Listener.Close())
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	return p
}

// addProvider makes the provider one of the tenant's.
func (w *world) addProvider(p provider, more ...string) {
	w.t.Helper()
	secret := filepath.Join(w.t.TempDir(), "secret")
	must(w.t, os.WriteFile(secret, []byte(idpSecret+"\n"), 0o600))
	args := append([]string{
		"providers", "add", "Firm", "--issuer", p.Issuer, "--client-id", idpClient, "--secret-file", secret, "--domain", "firm.example", "--domain", "example.com",
	}, more...)
	if out, err := w.CLI(w.t.Context(), args...); err != nil {
		w.t.Fatal(out, err)
	}
	if out, err := w.CLI(context.WithoutCancel(w.t.Context()), "providers", "test", "Firm"); err != nil {
		w.t.Fatal(fmt.Sprint(out), err)
	}
}
