package nodes

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"pgregory.net/rapid"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// reports is what one server says, one message after the other.
type reports struct {
	id  string
	seq uint64
}

func (r *reports) next(sessions ...*peerv1.SessionReport) *peerv1.ReportSessionsRequest {
	r.seq++
	return &peerv1.ReportSessionsRequest{ServerId: r.id, Seq: r.seq, Sessions: sessions, Total: int32(len(sessions))}
}

func heardOf(number, order uint64, age time.Duration) *peerv1.SessionReport {
	return &peerv1.SessionReport{NodeId: "nod_1", Session: number, Order: order, Age: durationpb.New(age)}
}

// desk is a board with a clock that a test moves.
type desk struct {
	*board
	now time.Time
}

func newDesk(nodes ...gestor.Node) *desk {
	now := time.Now()
	return &desk{newBoard(Times{}.withDefaults(), nodes, now), now}
}

// settle commits what is to be committed and returns the node's status.
func (d *desk) settle() gestor.NodeStatus {
	for _, c := range d.changes(d.now) {
		d.committed(d.now, c)
	}
	if p := d.nodes["nod_1"]; p != nil {
		return p.recorded
	}
	return ""
}

func (d *desk) after(t time.Duration) *desk { d.now = d.now.Add(t); return d }

func TestBoard_TheAgentsOwnNumberTellsWhichSessionIsNewerInAnyOrder(t *testing.T) {
	for _, first := range []string{"old", "new"} {
		t.Run(first+" first", func(t *testing.T) {
			d, a, b := newDesk(), reports{id: "srv_a"}, reports{id: "srv_b"}
			old, fresh := a.next(heardOf(9, 1, 0)), b.next(heardOf(1, 2, 0))
			var refused []string
			if first == "old" {
				d.report(d.now, old)
				d.report(d.now, fresh)
			} else {
				d.report(d.now, fresh)
				refused = d.report(d.now, old).superseded
			}
			refused = append(refused, d.report(d.now, a.next(heardOf(9, 1, 0))).superseded...)
			if p := d.nodes["nod_1"]; p.server != "srv_b" || !slices.Contains(refused, "nod_1") {
				t.Fatalf("the session is at %s, refused %v", p.server, refused)
			}
		})
	}
}

func TestBoard_AnEndedSessionNeverOverridesANewerOne(t *testing.T) {
	d, a, b := newDesk(), reports{id: "srv_a"}, reports{id: "srv_b"}
	d.report(d.now, a.next(heardOf(1, 1, 0)))
	d.report(d.now, b.next(heardOf(1, 2, 0)))
	left := a.next()
	left.Left = []string{"nod_1"}
	d.report(d.now, left)
	if got := d.settle(); got != gestor.NodeConnected {
		t.Fatalf("node is %s", got)
	}
	late := reports{id: "srv_a"} // a server that begins anew, and has an old connection that nobody closed
	d.report(d.now, late.next(heardOf(1, 1, 0)))
	if p := d.nodes["nod_1"]; p.server != "srv_b" {
		t.Fatalf("the session is at %s", p.server)
	}
}

func TestBoard_FollowsAnAgentOverAnyHistoryOfSessions(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk()
		servers := []*reports{{id: "srv_a"}, {id: "srv_b"}, {id: "srv_c"}}
		numbers := map[string]uint64{}
		var pending []*peerv1.ReportSessionsRequest // one for each server at most arrives late, but in its order
		var last string
		for order := uint64(1); order <= uint64(rapid.IntRange(1, 8).Draw(t, "sessions")); order++ {
			s := rapid.SampledFrom(servers).Draw(t, "server")
			numbers[s.id]++
			last = s.id
			pending = append(pending, s.next(heardOf(numbers[s.id], order, 0)))
		}
		for len(pending) > 0 { // any interleaving that keeps each server's own order
			i := rapid.IntRange(0, len(pending)-1).Draw(t, "which")
			i = slices.IndexFunc(pending, func(r *peerv1.ReportSessionsRequest) bool { return r.GetServerId() == pending[i].GetServerId() })
			if v := d.report(d.now, pending[i]); v.resync {
				t.Fatal("a report in order was not taken")
			}
			pending = slices.Delete(pending, i, i+1)
		}
		if got := d.nodes["nod_1"].server; got != last {
			t.Fatalf("the session is at %s, the newest is at %s", got, last)
		}
	})
}

func TestBoard_NodesOfASilentServerCountAsWithoutASessionFromItsLastReportOn(t *testing.T) {
	d, a := newDesk(), reports{id: "srv_a"}
	d.report(d.now, a.next(heardOf(1, 1, time.Second)))
	if got := d.settle(); got != gestor.NodeConnected {
		t.Fatalf("node is %s", got)
	}
	if got := d.after(3 * time.Second).settle(); got != gestor.NodeSuspect {
		t.Fatalf("after 3 s node is %s", got)
	}
	if got := d.after(11*time.Second - time.Millisecond).settle(); got != gestor.NodeSuspect {
		t.Fatalf("before 15 s node is %s", got)
	}
	if got := d.after(time.Millisecond).settle(); got != gestor.NodeLost {
		t.Fatalf("15 s after it was heard node is %s", got)
	}
	if v := d.report(d.now, a.next(heardOf(1, 1, 0))); !v.resync {
		t.Fatal("a server that was given up went on as if nothing was")
	}
	a.seq = 0
	d.report(d.now, a.next(heardOf(1, 1, 0)))
	if got := d.settle(); got != gestor.NodeConnected {
		t.Fatalf("back again node is %s", got)
	}
}

func TestBoard_BrokenSessionIsSuspectAtOnceAndASilentOneLater(t *testing.T) {
	d, a := newDesk(), reports{id: "srv_a"}
	d.report(d.now, a.next(heardOf(1, 1, 0)))
	d.settle()
	left := a.next()
	left.Left = []string{"nod_1"}
	d.report(d.now, left)
	if got := d.settle(); got != gestor.NodeSuspect {
		t.Fatalf("broken: node is %s", got)
	}
	d.report(d.now, a.next(heardOf(2, 2, 0)))
	d.settle()
	for range 9 {
		d.report(d.after(time.Second).now, a.next())
		if got := d.settle(); got != gestor.NodeConnected {
			t.Fatalf("silent for less than 10 s: node is %s", got)
		}
	}
	d.report(d.after(time.Second).now, a.next())
	if got := d.settle(); got != gestor.NodeSuspect {
		t.Fatalf("silent for 10 s: node is %s", got)
	}
}

func TestBoard_NewTermGivesAFreshGraceAndAWholeReportEndsWhatItLacks(t *testing.T) {
	for status, want := range map[gestor.NodeStatus]gestor.NodeStatus{
		gestor.NodeConnected: gestor.NodeLost, gestor.NodeSuspect: gestor.NodeLost, gestor.NodeLost: gestor.NodeLost, gestor.NodeEnrolled: gestor.NodeEnrolled,
	} {
		d := newDesk(gestor.Node{ID: "nod_1", Status: status})
		if got := d.after(15*time.Second - 1).settle(); got != status {
			t.Errorf("within its grace a node that was %s is %s", status, got)
		}
		if got := d.after(1).settle(); got != want {
			t.Errorf("after its grace a node that was %s is %s", status, got)
		}
	}
	d, a := newDesk(gestor.Node{ID: "nod_1", Status: gestor.NodeConnected}), reports{id: "srv_a"}
	d.report(d.now, a.next(heardOf(1, 1, 0)))
	if len(d.changes(d.now)) != 0 {
		t.Fatal("a node that is as it was recorded is recorded again")
	}
	a.seq = 0
	d.report(d.now, a.next())
	if got := d.settle(); got != gestor.NodeSuspect {
		t.Fatalf("its server has no session any more: node is %s", got)
	}
}

func TestBoard_RepeatedAndLostReportsDoNoHarm(t *testing.T) {
	d, a := newDesk(), reports{id: "srv_a"}
	first := a.next(heardOf(1, 1, 0))
	d.report(d.now, first)
	second := a.next(heardOf(1, 1, 0))
	for range 2 {
		if d.report(d.now, second).resync {
			t.Fatal("a repeated report was refused")
		}
	}
	a.seq++ // one was lost
	if !d.report(d.now, a.next()).resync {
		t.Fatal("a gap went unnoticed")
	}
	stranger := reports{id: "srv_b", seq: 7}
	if !d.report(d.now, stranger.next()).resync {
		t.Fatal("a server that was never heard went on")
	}
}

func TestBoard_FactsAreCommittedOnceAndOnlyIfTheyAreNew(t *testing.T) {
	d, a := newDesk(gestor.Node{ID: "nod_1", Status: gestor.NodeConnected, Facts: []byte("old")}), reports{id: "srv_a"}
	same := heardOf(1, 1, 0)
	same.Facts = []byte("old")
	d.report(d.now, a.next(same))
	if got := d.changes(d.now); len(got) != 0 {
		t.Fatalf("facts that the state has are committed: %v", got)
	}
	other := heardOf(1, 1, 0)
	other.Facts = []byte("new")
	d.report(d.now, a.next(other))
	got := d.changes(d.now)
	if len(got) != 1 || string(got[0].facts) != "new" {
		t.Fatalf("changes = %v", got)
	}
	d.committed(d.now, got[0])
	if got := d.changes(d.now); len(got) != 0 {
		t.Fatalf("committed again: %v", got)
	}
}

func TestBoard_ExcusesEverybodyAfterAPauseOfItsOwn(t *testing.T) {
	d, a := newDesk(), reports{id: "srv_a"}
	d.report(d.now, a.next(heardOf(1, 1, 0)))
	d.settle()
	d.after(time.Minute).excuse(d.now)
	if got := d.settle(); got != gestor.NodeConnected {
		t.Fatalf("after a pause node is %s", got)
	}
	if got := d.after(15 * time.Second).settle(); got != gestor.NodeLost {
		t.Fatalf("15 s later node is %s", got)
	}
}
