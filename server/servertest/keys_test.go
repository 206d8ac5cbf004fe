package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server"
	"github.com/saas-gestor/gestor/server/servertest"
)

const keyPatience = 60 * time.Second

// vault is a cluster with an app that has secrets.
type vault struct {
	*servertest.Cluster

	t      *testing.T
	values map[string]string
}

func newVault(t *testing.T, servers, values int) *vault {
	t.Helper()
	v := &vault{Cluster: servertest.NewTunedCluster(t, servers, server.Tuning{Keys: 100 * time.Millisecond}), t: t, values: map[string]string{}}
	_, err := v.Any().Apps().CreateApp(t.Context(), &gestorv1.CreateAppRequest{
		Slug: "shop", Settings: &gestorv1.AppSettings{Repository: "https://example.com/shop"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range values {
		v.values[fmt.Sprintf("SECRET_%03d", i)] = fmt.Sprintf("value-%d-of-the-shop", i)
	}
	v.set(v.values)
	return v
}

func (v *vault) set(values map[string]string) {
	v.t.Helper()
	if _, err := v.Any().Apps().UpdateEnv(v.t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: values}); err != nil {
		v.t.Fatal(err)
	}
}

// reads checks that a server can read all secrets.
func (v *vault) reads(s *servertest.Server) {
	v.t.Helper()
	var res *gestorv1.RevealEnvResponse
	v.Await(keyPatience, s.Name+" to answer", func(ctx context.Context) (err error) {
		res, err = v.Access(s, servertest.Access{Seen: v.Seen()}).Apps().RevealEnv(ctx, &gestorv1.RevealEnvRequest{App: "shop"})
		return err
	})
	if !maps.Equal(res.GetValues(), v.values) || len(res.GetUnreadable()) > 0 {
		v.t.Errorf("%s reads %d of %d values, %d not", s.Name, len(res.GetValues()), len(v.values), len(res.GetUnreadable()))
	}
}

func (v *vault) rotate(again bool) string {
	v.t.Helper()
	res, err := v.Any().Servers().RotateKey(v.t.Context(), &gestorv1.RotateKeyRequest{Again: again})
	if err != nil {
		v.t.Fatal(err)
	}
	return res.GetKey()
}

// await waits until what is said of the keys is as ok wants it.
func (v *vault) await(what string, ok func(*gestorv1.GetKeysResponse) bool) {
	v.t.Helper()
	v.Await(keyPatience, what, func(ctx context.Context) error {
		res, err := v.Any().Servers().GetKeys(ctx, &gestorv1.GetKeysRequest{})
		if err != nil || ok(res) {
			return err
		}
		return fmt.Errorf("keys %v, rotation %v", res.GetKeys(), res.GetRotation())
	})
}

func done(res *gestorv1.GetKeysResponse) bool {
	return res.GetRotation().GetPhase() == "done" && res.GetRotation().GetRemaining() == 0
}

func (v *vault) ringOf(s *servertest.Server) string {
	v.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.Dir, "keyring"))
	if err != nil {
		v.t.Fatal(err)
	}
	return string(raw)
}

func TestRotateKey_WaitsForAServerThatIsAwayAndSealsEverythingAnewOnceItIsBack(t *testing.T) {
	v := newVault(t, 3, 30)
	away := v.Follower()
	v.Kill(away)
	key := v.rotate(false)
	v.await("word of who lacks the key", func(res *gestorv1.GetKeysResponse) bool {
		return strings.Contains(res.GetRotation().GetWaiting(), away.Name+": it does not answer")
	})
	_, err := v.Any().Servers().RotateKey(t.Context(), &gestorv1.RotateKeyRequest{})
	if !errors.Is(err, fault.KindConflict) {
		t.Errorf("a second change at once: %v", err)
	}
	v.values["LATE"] = "while it spreads"
	v.set(map[string]string{"LATE": v.values["LATE"]})

	v.Start(away)
	v.await("everything sealed anew", done)
	v.await("one key that seals on all servers", func(res *gestorv1.GetKeysResponse) bool {
		last := res.GetKeys()[len(res.GetKeys())-1]
		return last.GetId() == key && last.GetStatus() == gestorv1.KeyStatus_KEY_STATUS_SEALING && len(last.GetServers()) == 3 && last.GetValues() >= 34
	})
	if _, err := v.Any().Servers().DropKeys(t.Context(), &gestorv1.DropKeysRequest{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range v.Servers {
		v.Await(keyPatience, s.Name+" to retire the old key", func(context.Context) error {
			if lines := strings.Count(v.ringOf(s), "\n"); lines != 2 || !strings.Contains(v.ringOf(s), key) {
				return fmt.Errorf("%d lines in the ring", lines)
			}
			_, err := os.Stat(filepath.Join(s.Dir, "keyring.retired"))
			return err
		})
		v.reads(s)
	}
	for _, s := range v.Servers {
		v.Stop(s)
	}
	for _, s := range v.Servers {
		v.Start(s)
	}
	v.WaitLeader()
	for _, s := range v.Servers {
		v.reads(s)
	}
	v.Check()
}

func TestRotateKey_GoesOnWhenTheLeaderIsKilledInTheMiddle(t *testing.T) {
	v := newVault(t, 3, 400)
	first := v.WaitLeader()
	key := v.rotate(false)
	v.Await(keyPatience, "the middle of it", func(ctx context.Context) error {
		res, err := v.Client(first).Servers().GetKeys(ctx, &gestorv1.GetKeysRequest{})
		if err == nil && res.GetRotation().GetPhase() == "spreading" {
			err = errors.New("it spreads")
		}
		return err
	})
	v.Kill(first)
	v.await("everything sealed anew under another leader", done)
	v.Start(first)
	v.await("all servers with the key", func(res *gestorv1.GetKeysResponse) bool {
		i := slices.IndexFunc(res.GetKeys(), func(k *gestorv1.Key) bool { return k.GetId() == key })
		return i >= 0 && len(res.GetKeys()[i].GetServers()) == 3
	})
	for _, s := range v.Servers {
		v.reads(s)
	}
	v.Check()
}

func TestRotateKey_AServerThatJoinsLaterHasTheKeys(t *testing.T) {
	v := newVault(t, 1, 3)
	v.rotate(false)
	v.await("everything sealed anew", done)
	if _, err := v.Any().Servers().DropKeys(t.Context(), &gestorv1.DropKeysRequest{}); err != nil {
		t.Fatal(err)
	}
	v.values["AFTER"] = "sealed with the new key"
	v.set(map[string]string{"AFTER": "sealed with the new key"})
	joined := v.Add()
	v.Await(keyPatience, "the new server to read", func(ctx context.Context) error {
		_, err := v.Client(joined).Apps().RevealEnv(ctx, &gestorv1.RevealEnvRequest{App: "shop"})
		return err
	})
	v.reads(joined)
}

// hostFiles are what a backup of a host has of its server's keys.
func hostFiles(t *testing.T, s *servertest.Server) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range []string{"keyring", "identity.json"} {
		raw, err := os.ReadFile(filepath.Join(s.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = raw
	}
	return files
}

func putBack(t *testing.T, s *servertest.Server, files map[string][]byte, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(s.Dir, name), files[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLostKey_IsAStateAndHealsWhenTheValueIsSetAnew(t *testing.T) {
	v := newVault(t, 1, 2)
	s := v.Servers[0]
	old := hostFiles(t, s)
	lost := v.rotate(false)
	v.await("everything sealed anew", done)
	v.Stop(s)
	putBack(t, s, old, "keyring", "identity.json")
	v.Start(s)

	var list *gestorv1.ListEnvResponse
	v.Await(keyPatience, "the server to work", func(ctx context.Context) (err error) {
		list, err = v.Any().Apps().ListEnv(ctx, &gestorv1.ListEnvRequest{App: "shop"})
		return err
	})
	for _, e := range list.GetVars() {
		if e.GetUnreadableKey() != lost {
			t.Errorf("%s is not marked: %v", e.GetName(), e)
		}
	}
	_, err := v.Any().Apps().RevealEnv(t.Context(), &gestorv1.RevealEnvRequest{App: "shop", Names: []string{"SECRET_000"}})
	if !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), lost) || !strings.Contains(err.Error(), "set the variable anew") {
		t.Errorf("got %v", err)
	}
	ready := readiness(t, v, s)
	if !strings.Contains(ready, `"ready":true`) || !strings.Contains(ready, "secret values cannot be read here") || !strings.Contains(ready, lost) {
		t.Errorf("got %s", ready)
	}

	v.set(v.values)
	v.reads(s)
	v.rotate(false) // the key that is to seal is lost, too: another takes its place
	v.await("what can be read sealed anew", func(res *gestorv1.GetKeysResponse) bool { return res.GetRotation().GetPhase() == "done" })
	v.reads(s)
	_, err = v.Any().Servers().DropKeys(t.Context(), &gestorv1.DropKeysRequest{})
	if !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "still sealed") {
		t.Errorf("keys of versions that are kept were dropped: %v", err)
	}
}

func readiness(t *testing.T, v *vault, s *servertest.Server) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.Public+"/readyz", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := v.Client(s).HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestLostKey_OfTheRootsKeepsTheServerFromStartingWithWords(t *testing.T) {
	v := newVault(t, 1, 1)
	s := v.Servers[0]
	old := hostFiles(t, s)
	v.rotate(false)
	v.await("everything sealed anew", done)
	v.Stop(s)
	now := hostFiles(t, s)
	putBack(t, s, old, "keyring")
	if err := v.StartFails(s); err == nil || !strings.Contains(err.Error(), "put the ring back") {
		t.Errorf("without the key of its roots: %v", err)
	}
	if err := os.Remove(filepath.Join(s.Dir, "keyring")); err != nil {
		t.Fatal(err)
	}
	if err := v.StartFails(s); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without its ring: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir, "keyring")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new ring was made in silence")
	}
	putBack(t, s, now, "keyring")
	v.Start(s)
	v.reads(s)
}
