package state

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestSealedColumns_AreAllThatSoundLikeIt(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error { return x.RaiseLevel(ctx, NewestLevel()) })
	pin, err := s.Pin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Close()
	columns, err := pin.texts(t.Context(), "SELECT m.name || '.' || c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range columns {
		sounds := strings.Contains(c, "sealed") || strings.HasSuffix(c, "_root_key")
		if sounds && !slices.Contains(SealedColumns(), c) {
			t.Errorf("%s is not among the sealed columns: the next change of the key would lose it", c)
		}
	}
	for _, c := range SealedColumns() {
		if !slices.Contains(columns, c) {
			t.Errorf("there is no column %s", c)
		}
	}
}

// sealedBy looks like what a key ring seals with the key 000000<id>.
func sealedBy(id byte, text string) []byte { return append([]byte{1, 0, 0, 0, id}, text...) }

func TestSealedOtherwise_PagesThroughAllColumnsAndLeavesOutWhatNoRingSealed(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		a := gestor.App{ID: "app_1", TenantID: "ten_1", Slug: "a", DeployKeySealed: sealedBy(1, "deploy")}
		err := x.RaiseLevel(ctx, NewestLevel())
		for i := range 7 {
			e := gestor.EnvVar{Name: fmt.Sprint("V", i), Sealed: sealedBy(byte(1+i%2), "v"), Since: 11}
			err = errJoin(err, x.PutEnv(ctx, a, e), x.PutPastEnv(ctx, a, gestor.EnvVar{Name: e.Name, Sealed: e.Sealed, Since: 2}, 11),
				x.PutPastEnv(ctx, a, gestor.EnvVar{Name: e.Name, Sealed: []byte("plain"), Since: 1}, 2))
		}
		return errJoin(err, x.PutApp(ctx, a), x.PutCluster(ctx, gestor.Cluster{ID: "clu_1", ServerRootKey: sealedBy(1, "root"), AgentRootKey: sealedBy(2, "root")}))
	})
	view := s.View(gestor.SystemScope())
	var after Sealed
	seen := map[string]bool{}
	for {
		found, err := view.SealedOtherwise(t.Context(), []string{"00000002"}, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 {
			break
		}
		for _, f := range found {
			seen[fmt.Sprint(f.Column, f.Key, f.Place)] = true
		}
		after = found[len(found)-1]
	}
	if len(seen) != 1+1+4+4 || !seen["cluster.server_root_key[clu_1]cluster/server_root"] || !seen["application_env_past.sealed[app_1 V0 2]app_1/env/V0"] {
		t.Errorf("got %d: %v", len(seen), seen)
	}
	counts, err := view.SealedCounts(t.Context())
	if err != nil || counts["00000001"] != 10 || counts["00000002"] != 7 || len(counts) != 2 {
		t.Errorf("got %v, %v", counts, err)
	}
	if found, err := s.View(gestor.TenantScope("ten_1")).SealedOtherwise(t.Context(), nil, Sealed{}, 9); len(found) > 0 || err != nil {
		t.Errorf("a tenant sees %v, %v", found, err)
	}
	write(t, s, 2, func(ctx context.Context, x *Txn) error {
		sum := sha256.Sum256(sealedBy(1, "v"))
		return x.Reseal(ctx, gestor.Resealed{Column: "application_env_past.sealed", Key: []string{"app_1", "V0", "2"}, Before: sum[:], Sealed: sealedBy(2, "anew")})
	})
	if vars, err := view.EnvAt(t.Context(), "app_1", 0); err != nil || len(vars) != 7 {
		t.Errorf("got %v, %v", vars, err)
	}
	if counts, err = view.SealedCounts(t.Context()); err != nil || counts["00000002"] != 8 {
		t.Errorf("got %v, %v", counts, err)
	}
}

func errJoin(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
