package members_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

// writer makes apps on a server, one after the other, until it is ended; end returns how many were acknowledged.
func writer(t *testing.T, s *server, name string) (end func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	written := 0
	wg.Go(func() {
		for ctx.Err() == nil {
			_, err := s.engine.Propose(context.WithoutCancel(ctx), command.Command{Actor: actor(), Op: newApp(fmt.Sprintf("%s-%d", name, written))})
			if err != nil {
				t.Errorf("write %d on %s: %v", written, s.id, err)
				return
			}
			written++
		}
	})
	return sync.OnceValue(func() int { cancel(); wg.Wait(); return written })
}

func newApp(slug string) command.CreateApp {
	return command.CreateApp{App: gestor.App{ID: gestor.AppID("app_" + slug), Slug: slug}}
}

// missing are the apps of a writer that are not on a server once it has caught up.
func missing(t *testing.T, s *server, name string, written int) []int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.engine.Barrier(ctx); err != nil {
		t.Fatalf("barrier on %s: %v", s.id, err)
	}
	var out []int
	for i := range written {
		if _, err := s.engine.View(gestor.SystemScope()).AppBySlug(ctx, fmt.Sprintf("%s-%d", name, i)); err != nil {
			out = append(out, i)
		}
	}
	return out
}

func TestCluster_GrowsFromOneToThreeAndBackWithoutLossWhileWritesGoOn(t *testing.T) {
	f := newFleet(t)
	a := f.found("srv_a")
	first := writer(t, a, "first")
	defer first()
	b := f.join("srv_b", a, "")
	f.until("the second is a standby", func() bool { return slices.Equal(a.standbys(), []string{"srv_b"}) })
	f.until("it follows", func() bool { return b.engine.Revision() > 0 && b.engine.Revision()+50 > a.engine.Revision() })
	second := writer(t, b, "second")
	defer second()
	for range 10 { // looks at an up to date standby
		revision := a.engine.Revision()
		f.until("time goes by", func() bool { return b.engine.Revision() > revision+5 })
	}
	if v := a.voters(); !slices.Equal(v, []string{"srv_a"}) {
		t.Fatalf("%v vote, a second one makes a cluster of two die more easily", v)
	}
	c := f.join("srv_c", b, "")
	f.until("all three vote", a.votersAre("srv_a", "srv_b", "srv_c"))
	f.until("the third knows it", c.votersAre("srv_a", "srv_b", "srv_c"))
	written := map[string]int{"first": first(), "second": second()}
	for _, s := range []*server{a, b, c} {
		for name, n := range written {
			if lost := missing(t, s, name, n); len(lost) > 0 || n == 0 {
				t.Errorf("%s lacks %d of the %d acknowledged writes of %s", s.id, len(lost), n, name)
			}
		}
	}
	remove(t, a, "srv_c", false)
	f.until("two are left", a.votersAre("srv_a", "srv_b"))
	remove(t, a, "srv_b", false)
	f.until("one is left", a.votersAre("srv_a"))
	a.propose(actor(), newApp("alone"))
}

// remove takes a server out by way of another one.
func remove(t *testing.T, by *server, id gestor.ServerID, force bool) {
	t.Helper()
	if err := removal(t, by, id, force); err != nil {
		t.Fatalf("remove %s: %v", id, err)
	}
}

func removal(t *testing.T, by *server, id gestor.ServerID, force bool) error {
	t.Helper()
	data, err := command.Marshal(command.Command{At: time.Now(), Actor: actor(), Op: command.DeleteServer{ID: id}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	revision, err := by.members.Remove(ctx, members.Removal{ID: id, Command: data, Force: force})
	if err == nil && revision == 0 {
		t.Error("a removal without a revision")
	}
	return err
}

// told checks that a server learns that it was removed.
func (s *server) told() {
	s.fleet.t.Helper()
	select {
	case err := <-s.removed:
		if !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), s.id) || !strings.Contains(err.Error(), "gestor servers add") {
			s.fleet.t.Errorf("%s was told %v", s.id, err)
		}
	case <-time.After(patience):
		s.fleet.t.Fatalf("%s does not notice that it was removed", s.id)
	}
}

func TestRemoval_IsToldToAServerThatRunsAndToOneThatComesBackLater(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	remove(t, rest[1], gestor.ServerID(rest[0].id), false)
	rest[0].told()
	f.until("two are left", func() bool { return len(leader.voters()) == 2 })

	d := f.join("srv_d", leader, "")
	f.until("three vote again", func() bool { return len(leader.voters()) == 3 })
	f.until("the new one knows", func() bool { return len(d.voters()) == 3 })
	d.stop()
	remove(t, leader, "srv_d", false)
	f.until("it is out", func() bool { return memberOf(leader, "srv_d").ID == "" })
	d.restart("127.0.0.1:0").told()
	select {
	case err := <-leader.removed:
		t.Errorf("%s, which stays, was told %v", leader.id, err)
	case err := <-rest[1].removed:
		t.Errorf("%s, which stays, was told %v", rest[1].id, err)
	default:
	}
}

func TestReplacement_TakesTheVoteOfADeadServer(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	dead := rest[0]
	dead.stop()
	d := f.join("srv_d", rest[1], gestor.ServerID(dead.id))
	f.until("the new one votes and the dead one is out", func() bool {
		return memberOf(leader, "srv_d").Voter && memberOf(leader, dead.id).ID == "" && len(leader.voters()) == 3
	})
	rest[1].propose(actor(), newApp("after"))
	if err := d.engine.Barrier(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.engine.View(gestor.SystemScope()).AppBySlug(t.Context(), "after"); err != nil {
		t.Errorf("the new server lacks what was written: %v", err)
	}
	for _, row := range leader.rows() {
		if row.ID == gestor.ServerID(dead.id) || row.Replaces != "" {
			t.Errorf("left over: %+v", row)
		}
	}
}

func TestReplacement_OfTheOnlyServerHandsOver(t *testing.T) {
	f := newFleet(t)
	a := f.found("srv_a")
	a.propose(actor(), newApp("before"))
	b := f.join("srv_b", a, "srv_a")
	f.until("the new one is alone", b.votersAre("srv_b"))
	a.told()
	b.propose(actor(), newApp("after"))
	if _, err := b.engine.View(gestor.SystemScope()).AppBySlug(t.Context(), "before"); err != nil {
		t.Error(err)
	}
}

func TestRemoval_OfTheLeaderHandsOverFirst(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	write := writer(t, rest[0], "w")
	defer write()
	remove(t, rest[0], gestor.ServerID(leader.id), false)
	leader.told()
	next := f.leader(rest...)
	f.until("it is out", func() bool { return memberOf(next, leader.id).ID == "" })
	n := write()
	if lost := missing(t, rest[1], "w", n); len(lost) > 0 {
		t.Errorf("%d of %d acknowledged writes are lost", len(lost), n)
	}
}

func TestRemoval_IsRefusedIfNoMajorityWouldBeLeftUnlessForced(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	rest[0].stop()
	err := removal(t, rest[1], gestor.ServerID(rest[1].id), false)
	if !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "--force") {
		t.Fatalf("got %v", err)
	}
	if len(leader.rows()) != 3 {
		t.Errorf("the refused removal left %v", leader.rows())
	}
	remove(t, rest[1], gestor.ServerID(rest[0].id), false) // the dead one may go
	f.until("two are left", func() bool { return len(leader.voters()) == 2 })
	rest[1].stop()
}

func TestRemoval_OfTheOnlyServerIsRefused(t *testing.T) {
	a := newFleet(t).found("srv_a")
	for _, force := range []bool{false, true} {
		if err := removal(t, a, "srv_a", force); !errors.Is(err, fault.KindConflict) {
			t.Errorf("force %v: got %v", force, err)
		}
	}
}

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

func TestTransfer_GoesToTheVoterThatIsNamedAndMeasuresTheGap(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	for _, to := range []*server{rest[0], rest[1], leader} {
		f.leader(all...) // all agree
		now, took, err := rest[0].members.Transfer(t.Context(), gestor.ServerID(to.id))
		if err != nil || now != gestor.ServerID(to.id) || took <= 0 || took > 5*time.Second {
			t.Fatalf("to %s: got %s after %s, %v", to.id, now, took, err)
		}
		t.Logf("no server led for %s", took)
	}
	f.leader(all...)
	if now, took, err := rest[1].members.Transfer(t.Context(), gestor.ServerID(leader.id)); err != nil || took != 0 || now != gestor.ServerID(leader.id) {
		t.Errorf("to who leads: %s, %s, %v", now, took, err)
	}
	if now, _, err := rest[1].members.Transfer(t.Context(), ""); err != nil || now == gestor.ServerID(leader.id) {
		t.Errorf("to anybody: %s, %v", now, err)
	}
	if _, _, err := f.leader(all...).members.Transfer(t.Context(), "srv_z"); !errors.Is(err, fault.KindConflict) {
		t.Errorf("to a stranger: %v", err)
	}
}

func TestTransfer_IsRefusedWhereNobodyElseVotes(t *testing.T) {
	f := newFleet(t)
	a := f.found("srv_a")
	b := f.join("srv_b", a, "")
	f.until("the second follows", func() bool { return b.engine.Leader() == "srv_a" && memberOf(b, "srv_a").Voter })
	for _, to := range []gestor.ServerID{"", "srv_b"} {
		if _, _, err := b.members.Transfer(t.Context(), to); !errors.Is(err, fault.KindConflict) {
			t.Errorf("to %q: %v", to, err)
		}
	}
}

func TestAnnounce_BringsWhatChangedIntoTheTableAndIntoRaft(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	moved := others(leader, all...)[0]
	moved.stop()
	moved = moved.restart("127.0.0.1:0")
	f.until("Raft knows the new address", func() bool { return memberOf(leader, moved.id).Address == moved.port.Address() })
	moved.change(func(s *gestor.Server) { s.Version, s.Name = "v2", "other" })
	row := func(id string) gestor.Server {
		for _, r := range leader.rows() {
			if r.ID == gestor.ServerID(id) {
				return r
			}
		}
		return gestor.Server{}
	}
	f.until("version and name are known", func() bool { return row(moved.id).Version == "v2" && row(moved.id).Name == "other" })
	moved.change(func(s *gestor.Server) { s.Version, s.Name = "v3", leader.who().Name })
	f.until("a taken name keeps nothing else from being known", func() bool { return row(moved.id).Version == "v3" })
	if name := row(moved.id).Name; name != "other" {
		t.Errorf("it took the name %s of another server", name)
	}
}

func TestAnnounce_IsForOneselfOnly(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	liar := others(leader, all...)[0]
	c, err := liar.port.Client(leader.id)
	if err != nil {
		t.Fatal(err)
	}
	call := peerv1connect.NewReplicationServiceClient(c.HTTP, c.URL, c.Options...)
	for _, id := range []string{leader.id, "srv_z", ""} {
		info := &peerv1.ServerInfo{Id: id, Name: "x", PeerAddress: "x:1"}
		if _, err := call.Announce(t.Context(), &peerv1.AnnounceRequest{Server: info}); !errors.Is(err, fault.KindDenied) {
			t.Errorf("as %q: %v", id, err)
		}
	}
	info := &peerv1.ServerInfo{Id: liar.id, Name: "x", PeerAddress: "0.0.0.0:1"}
	if _, err := call.Announce(t.Context(), &peerv1.AnnounceRequest{Server: info}); !errors.Is(err, fault.KindInvalid) {
		t.Errorf("an address nobody reaches: %v", err)
	}
}

func TestStatuses_AreOfThoseThatAnswer(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	rest[0].stop()
	got := rest[1].members.Statuses(t.Context(), []gestor.ServerID{"srv_a", "srv_b", "srv_c", "srv_z"})
	for _, s := range all {
		status, ok := got[gestor.ServerID(s.id)]
		if ok == (s == rest[0]) {
			t.Errorf("%s answered: %v", s.id, ok)
		}
		if ok && (status.GetVersion() != "test" || status.GetLevel() != command.Level || status.GetLastIndex() == 0 || status.GetLeader() != leader.id) {
			t.Errorf("%s said %v", s.id, status)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %v", got)
	}
}

func TestMarkedStates_AreEqualOnAllServers(t *testing.T) {
	f, all := three(t)
	leader := f.leader(all...)
	rest := others(leader, all...)
	for i := range 50 {
		rest[i%2].propose(actor(), newApp(fmt.Sprint("app-", i)))
	}
	revision := rest[0].propose(actor(), command.Mark{ID: "m1"}).Revision
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got := rest[0].members.MarkedStates(ctx, []gestor.ServerID{"srv_a", "srv_b", "srv_c"}, revision)
	for id, m := range got {
		if m.Err != nil || m.Hash == "" || m.Hash != got["srv_a"].Hash || len(m.Tables) < 10 {
			t.Errorf("%s: %+v", id, m)
		}
	}
	if len(got) != 3 {
		t.Errorf("got %v", got)
	}
}

func TestAnnounce_OfTheOnlyServerThatMovedIsTakenByItself(t *testing.T) {
	f := newFleet(t)
	a := f.found("srv_a")
	a.stop()
	a = a.restart("127.0.0.1:0")
	f.until("Raft knows the new address", func() bool { return memberOf(a, "srv_a").Address == a.port.Address() })
	b := f.join("srv_b", a, "")
	f.until("another one finds it there", func() bool { return b.engine.Leader() == "srv_a" && memberOf(b, "srv_a").Address == a.port.Address() })
}
