package identity_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/agent/agenttest"
	"github.com/saas-gestor/gestor/agent/internal/identity"
	"github.com/saas-gestor/gestor/proto/fault"
)

func join(t *testing.T, dir identity.Dir, s *agenttest.Server, text string) (identity.Identity, error) {
	t.Helper()
	token, err := identity.ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return dir.Join(t.Context(), identity.JoinRequest{Server: "https://" + s.Address(), Token: token})
}

func TestJoin_StoresAnIdentityThatRenews(t *testing.T) {
	s := agenttest.New(t)
	dir := identity.Dir(filepath.Join(t.TempDir(), "identity"))
	token := s.Token(time.Hour)
	if _, err := join(t, dir, s, token); err != nil {
		t.Fatal(err)
	}
	if i, err := join(t, dir, s, token); err != nil || i.NodeName != "web1" {
		t.Errorf("joining again: %v, %v", i.NodeName, err)
	}
	info, err := os.Stat(filepath.Join(string(dir), "key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info.Mode(), err)
	}
	k, err := identity.Open(identity.KeeperOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again, _, err := dir.Load(); err != nil || again.Generation != 2 {
		t.Errorf("after renewal: generation %d, %v", again.Generation, err)
	}
}

func TestJoin_MayBeRepeatedWithTheSameKeyOnly(t *testing.T) {
	s := agenttest.New(t)
	token := s.Token(time.Hour)
	dir := identity.Dir(t.TempDir())
	if _, err := join(t, dir, s, token); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(string(dir), "identity.json")); err != nil { // as if the answer was lost
		t.Fatal(err)
	}
	if _, err := join(t, dir, s, token); err != nil {
		t.Errorf("same key: %v", err)
	}
	if _, err := join(t, identity.Dir(t.TempDir()), s, token); !errors.Is(err, fault.KindConflict) {
		t.Errorf("other key: %v", err)
	}
}

func TestJoin_RefusesBadTokensAndServers(t *testing.T) {
	s, other := agenttest.New(t), agenttest.New(t)
	good := s.Token(time.Hour)
	if _, err := join(t, identity.Dir(t.TempDir()), s, strings.Replace(good, "s3cret", "forged", 1)); !errors.Is(err, fault.KindDenied) {
		t.Errorf("forged: %v", err)
	}
	_, err := join(t, identity.Dir(t.TempDir()), other, good)
	if !errors.Is(err, fault.KindDenied) || !strings.Contains(err.Error(), "nothing secret was sent") {
		t.Errorf("wrong authority: %v", err)
	}
	if _, err := join(t, identity.Dir(t.TempDir()), s, s.Token(-time.Hour)); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired: %v", err)
	}
	for _, bad := range []string{"", "gst1.ab.c.d", "x.y", good + ".more"} {
		if _, err := identity.ParseToken(bad); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func keeper(t *testing.T, dir identity.Dir) *identity.Keeper {
	t.Helper()
	k, err := identity.Open(identity.KeeperOptions{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestRenew_AsksForTheSameAgainAfterALostAnswerAndACrash(t *testing.T) {
	s := agenttest.New(t)
	dir := identity.Dir(t.TempDir())
	if _, err := join(t, dir, s, s.Token(time.Hour)); err != nil {
		t.Fatal(err)
	}
	s.LoseNextRenewal()
	if err := keeper(t, dir).Renew(t.Context()); err == nil {
		t.Fatal("the answer was to be lost")
	}
	k := keeper(t, dir) // the agent has crashed and begins anew
	if err := k.Renew(t.Context()); err != nil {
		t.Fatalf("after a lost answer: %v", err)
	}
	if err := k.Renew(t.Context()); err != nil {
		t.Fatalf("the renewal after that: %v", err)
	}
	if i, _, err := dir.Load(); err != nil || i.Generation != 3 {
		t.Errorf("generation %d, %v", i.Generation, err)
	}
	if left, _ := filepath.Glob(filepath.Join(string(dir), "renewal*")); len(left) > 0 {
		t.Errorf("%v stayed after the renewal", left)
	}
}

func TestRenew_IsNotMisledByWhatIsLeftOver(t *testing.T) {
	for name, content := range map[string]string{
		"damaged":         "{",
		"not a request":   `{"generation":1,"csr":"AAAA"}`,
		"another's":       `{"generation":9,"csr":"AAAA"}`,
		"nothing written": "",
	} {
		t.Run(name, func(t *testing.T) {
			s := agenttest.New(t)
			dir := identity.Dir(t.TempDir())
			if _, err := join(t, dir, s, s.Token(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(string(dir), "renewal.json"), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := keeper(t, dir).Renew(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRenew_RefusesACloneOfTheDisk(t *testing.T) {
	s := agenttest.New(t)
	dir, clone := identity.Dir(t.TempDir()), identity.Dir(t.TempDir())
	if _, err := join(t, dir, s, s.Token(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(string(clone), os.DirFS(string(dir))); err != nil {
		t.Fatal(err)
	}
	if err := keeper(t, dir).Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := keeper(t, clone).Renew(t.Context()); !errors.Is(err, fault.KindConflict) {
		t.Errorf("the clone: %v", err)
	}
}
