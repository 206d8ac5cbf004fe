package members_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

func TestPropose_OnAFollowerIsReadThereAtOnceAndKeepsTheKindOfRefusals(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	for i, s := range others(leader, all...) {
		for j := range 20 {
			slug := fmt.Sprintf("app-%d-%d", i, j)
			r := s.propose(actor(), newApp(slug))
			if r.Object != "app_"+slug {
				t.Errorf("the receipt names %s", r.Object)
			}
			if _, err := s.engine.View(gestor.TenantScope(tenant)).AppBySlug(t.Context(), slug); err != nil {
				t.Fatalf("%s does not have what was written through it: %v", s.id, err)
			}
		}
		_, err := s.engine.Propose(t.Context(), command.Command{Actor: actor(), Op: command.DeleteApp{ID: "app_none"}})
		if !errors.Is(err, fault.KindNotFound) {
			t.Errorf("got %v", err)
		}
		_, err = s.engine.Propose(t.Context(), command.Command{Actor: actor(), Op: newApp(fmt.Sprintf("app-%d-0", i))})
		if !errors.Is(err, fault.KindExists) {
			t.Errorf("got %v", err)
		}
		leader.propose(actor(), newApp(fmt.Sprint("led-", i)))
		if err := s.engine.Barrier(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.engine.View(gestor.TenantScope(tenant)).AppBySlug(t.Context(), fmt.Sprint("led-", i)); err != nil {
			t.Errorf("after a barrier %s lacks what the leader has acknowledged: %v", s.id, err)
		}
	}
}

func TestForwarder_TellsWhatWasCertainlyNotTakenFromWhatIsNotKnown(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	forward := members.Forwarder(leader.port)
	data, err := command.Marshal(command.Command{At: time.Now(), Actor: actor(), Op: newApp("shop")})
	if err != nil {
		t.Fatal(err)
	}
	check := func(to string, certain bool) {
		t.Helper()
		_, err := forward.Propose(t.Context(), to, data)
		if !errors.Is(err, fault.KindUnavailable) || errors.Is(err, cluster.ErrNotLeader) != certain {
			t.Errorf("to %s: got %v, not taken: %v, want %v", to, err, errors.Is(err, cluster.ErrNotLeader), certain)
		}
		if _, err := forward.ReadIndex(t.Context(), to); !errors.Is(err, fault.KindUnavailable) {
			t.Errorf("read index from %s: %v", to, err)
		}
	}
	check(rest[0].id, true) // it does not lead
	check("srv_z", true)    // nobody knows it
	rest[1].stop()
	f.until("the connection that was there is noticed to have ended", func() bool {
		_, err := forward.Propose(t.Context(), rest[1].id, data)
		return errors.Is(err, cluster.ErrNotLeader)
	})
	check(rest[1].id, true) // it is not there
	hangUp(t, f, rest[1].id, rest[1].port.Address())
	check(rest[1].id, false) // it goes away with the command in its hands
	if _, err := leader.engine.View(gestor.SystemScope()).AppBySlug(t.Context(), "shop"); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("got %v", err)
	}
}

// hangUp is a server that breaks the connection once it has read a call.
func hangUp(t *testing.T, f *fleet, id, at string) {
	t.Helper()
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: f.root, Cluster: clusterName, Server: id, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	p, err := peer.Open(t.Context(), peer.Options{Listen: at, Self: id, Leaf: leaf, Verifier: pki.PeerVerifier{Roots: f.root.Pool(), Cluster: clusterName}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- p.Run(ctx, func(...connect.HandlerOption) (string, http.Handler) {
			return "/" + peerv1connect.ReplicationServiceName + "/", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				cancel()
				<-r.Context().Done()
			})
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = p.Close()
	})
}
