package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
)

func TestInsist_DoesNotSayNothingWasDoneAfterAnAttemptThatMayHaveBeen(t *testing.T) {
	untaken := fault.Unavailable("the leader cannot be reached").WithCause(cluster.ErrNotLeader).WithNothingDone()
	full := fault.Exhausted("the server has too many changes waiting")
	refused := fault.Conflict("it was taken, and refused")
	for name, c := range map[string]struct {
		first, last error
		want        fault.Kind
		nothing     bool // was certainly done
	}{
		"a broken call, then no leader":    {cluster.ErrUnknown, untaken, fault.KindUnavailable, false},
		"a broken call, then a full queue": {cluster.ErrUnknown, full, fault.KindUnavailable, false},
		"a broken call, then its result":   {cluster.ErrUnknown, refused, fault.KindConflict, false},
		"no leader, twice":                 {untaken, untaken, fault.KindUnavailable, true},
		"no leader, then a full queue":     {untaken, full, fault.KindExhausted, false},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := Open(t.Context(), Options{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = e.Close() })
			if err := e.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			limited, cancel := context.WithTimeout(t.Context(), 5*lookOut)
			defer cancel()
			times := 0
			err = e.insist(limited, true, func(context.Context, string) error {
				if times++; times == 1 {
					return c.first
				}
				return c.last
			})
			f, ok := errors.AsType[*fault.Error](err)
			if !ok || f.Kind != c.want || f.NothingDone != c.nothing || !c.nothing && errors.Is(err, cluster.ErrNotLeader) {
				t.Errorf("after %d attempts: %v", times, err)
			}
		})
	}
}
