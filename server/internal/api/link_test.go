package api

import (
	"encoding/base64"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/secret"
)

func newLinks(t testing.TB) Links {
	t.Helper()
	ring, err := secret.Create(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return Links{Vault: ring, PublicURL: "https://ctl.example"}
}

func TestLinks_HideWhatTheySay(t *testing.T) {
	l := newLinks(t)
	address, err := l.seal(link{Purpose: linkReset, User: "usr_1", Email: "ana@example.com", Ends: time.Unix(100, 0)})
	if err != nil {
		t.Fatal(err)
	}
	path, text, _ := strings.Cut(address, "#")
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || path != "https://ctl.example/reset" || strings.Contains(string(raw), "ana@") || strings.Contains(string(raw), "usr_1") {
		t.Errorf("got %q, %v", address, err)
	}
	if got, err := l.open(text, linkReset, time.Unix(99, 0)); err != nil || got.User != "usr_1" || got.Email != "ana@example.com" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := newLinks(t).open(text, linkReset, time.Unix(99, 0)); err == nil {
		t.Error("a link of another installation was opened")
	}
	if _, err := l.open(base64.RawURLEncoding.EncodeToString(l.Vault.Seal([]byte(`{"Purpose":"reset"}`), "login request")), linkReset, time.Time{}); err == nil {
		t.Error("what was sealed for another place was opened")
	}
}

func FuzzLinks_OpenNothingButWhatWasSealed(f *testing.F) {
	l := newLinks(f)
	address, err := l.seal(link{Purpose: linkReset, User: "usr_1", Ends: time.Unix(100, 0)})
	if err != nil {
		f.Fatal(err)
	}
	_, good, _ := strings.Cut(address, "#")
	for _, s := range []string{"", good, good[1:], good + "A", "AQ", strings.Repeat("A", 100)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, err := l.open(s, linkReset, time.Unix(1, 0)); err == nil && s != good || err != nil && got.User != "" {
			t.Fatalf("%q: got %+v, %v", s, got, err)
		}
	})
}
