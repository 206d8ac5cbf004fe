package api_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (m member) setEnv(t *testing.T, set map[string]string) {
	t.Helper()
	if _, err := m.apps.UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: set}); err != nil {
		t.Fatal(err)
	}
}

func TestRevealEnv_TellsValuesOfNowAndOfOlderVersions(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	n.one.setEnv(t, map[string]string{"A": "one", "B": "two"})
	n.one.setEnv(t, map[string]string{"A": "three"})
	res, err := n.one.apps.RevealEnv(t.Context(), &gestorv1.RevealEnvRequest{App: "shop"})
	if err != nil || len(res.GetValues()) != 2 || res.GetValues()["A"] != "three" {
		t.Fatalf("got %v, %v", res, err)
	}
	res, err = n.one.apps.RevealEnv(t.Context(), &gestorv1.RevealEnvRequest{App: "shop", Names: []string{"A"}, Version: 2})
	if err != nil || len(res.GetValues()) != 1 || res.GetValues()["A"] != "one" {
		t.Errorf("got %v, %v", res, err)
	}
	for _, req := range []*gestorv1.RevealEnvRequest{{App: "shop", Names: []string{"NONE"}}, {App: "shop", Version: 99}} {
		if _, err := n.one.apps.RevealEnv(t.Context(), req); !errors.Is(err, fault.KindNotFound) {
			t.Errorf("%v: got %v", req, err)
		}
	}
	diff, err := n.one.apps.DiffEnv(t.Context(), &gestorv1.DiffEnvRequest{App: "shop", From: 1})
	if err != nil || strings.Join(diff.GetAdded(), " ") != "A B" || diff.GetTo() != 3 {
		t.Errorf("got %v, %v", diff, err)
	}
	diff, err = n.one.apps.DiffEnv(t.Context(), &gestorv1.DiffEnvRequest{App: "shop", From: 2, To: 3})
	if err != nil || strings.Join(diff.GetChanged(), " ") != "A" || len(diff.GetAdded()) > 0 {
		t.Errorf("got %v, %v", diff, err)
	}
}

func TestExportEnv_IsOpenToItsRecipientAlone(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	n.one.setEnv(t, map[string]string{"A": "line one\n\"two\" $x", "B": "plain"})
	mine, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	other, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	const sshKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHsKLqeplhpW+uObz5dvMgjz1OxfM/XXUB+VHtZ6isGN alice@rust"
	res, err := n.one.apps.ExportEnv(t.Context(), &gestorv1.ExportEnvRequest{App: "shop", Recipients: []string{mine.Recipient().String(), sshKey}})
	if err != nil || res.GetVars() != 2 {
		t.Fatalf("got %v, %v", res, err)
	}
	if _, err := age.Decrypt(armor.NewReader(strings.NewReader(res.GetFile())), other); err == nil {
		t.Error("somebody else opened it")
	}
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(res.GetFile())), mine)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(plain)
	if want := "A=\"line one\\n\\\"two\\\" \\$x\"\nB=\"plain\"\n"; err != nil || string(text) != want {
		t.Errorf("got %q, %v", text, err)
	}
	for _, bad := range []string{"age1nonsense", "ssh-dss AAAA", "AGE-SECRET-KEY-1", "not a key"} {
		_, err := n.one.apps.ExportEnv(t.Context(), &gestorv1.ExportEnvRequest{App: "shop", Recipients: []string{bad}})
		if !errors.Is(err, fault.KindInvalid) || strings.Contains(err.Error(), bad) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}
