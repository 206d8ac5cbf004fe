package members_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

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
