package peer_test

import (
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
)

func TestRefuses_TellsAServerWhetherItIsTakenIn(t *testing.T) {
	i := newInstallation(t, "clu_1")
	a, b, gone := i.open(t, "srv_a"), i.open(t, "srv_b"), i.open(t, "srv_c")
	i.bind(a, b)
	serve(t, b)
	if refused, err := a.Refuses(t.Context(), "srv_b"); refused || err != nil {
		t.Errorf("a member: %v, %v", refused, err)
	}
	alone := []cluster.Member{{ID: "srv_b", Address: b.Address(), Voter: true}}
	b.Bind(func() []cluster.Member { return alone }, func() string { return "" })
	if refused, err := a.Refuses(t.Context(), "srv_b"); !refused || err != nil {
		t.Errorf("one that was removed: %v, %v", refused, err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	if refused, err := a.Refuses(t.Context(), "srv_c"); refused || err == nil {
		t.Errorf("a server that is gone: %v, %v", refused, err)
	}
	if _, err := a.Refuses(t.Context(), "srv_z"); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("a stranger: %v", err)
	}
}
