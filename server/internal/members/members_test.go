package members_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
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
