package members

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// draw makes a picture out of "A B*": A leads. In servers "D=C" means that D replaces C; in members a star marks a voter
// and a bang a standby that has caught up.
func draw(servers, members string) picture {
	p := picture{self: "A", ready: map[gestor.ServerID]bool{}}
	for i, s := range strings.Fields(servers) {
		id, replaces, _ := strings.Cut(s, "=")
		p.servers = append(p.servers, gestor.Server{
			ID: gestor.ServerID(id), Replaces: gestor.ServerID(replaces), PeerAddress: "at-" + id, CreatedAt: time.Unix(int64(i), 0),
		})
	}
	for m := range strings.FieldsSeq(members) {
		id := strings.Trim(m, "*!")
		p.members = append(p.members, cluster.Member{ID: id, Address: "at-" + id, Voter: strings.HasSuffix(m, "*")})
		p.ready[gestor.ServerID(id)] = strings.HasSuffix(m, "!")
	}
	return p
}

func TestNext_DecidesWhoVotes(t *testing.T) {
	for _, c := range []struct{ name, servers, members, want string }{
		{"alone", "A", "A*", ""},
		{"a new server is a standby first", "A B", "A*", "add B"},
		{"a second one stays standby", "A B", "A* B!", ""},
		{"two standbys that lag", "A B C", "A* B C", ""},
		{"one of two standbys lags", "A B C", "A* B! C", ""},
		{"the older goes first", "A B C", "A* B! C!", "promote B"},
		{"then the third", "A B C", "A* B* C!", "promote C"},
		{"also when the third has to catch up again", "A B C", "A* B* C", ""},
		{"a fourth stays standby", "A B C D", "A* B* C* D!", ""},
		{"four and five vote together", "A B C D E", "A* B* C* D! E!", "promote D"},
		{"a sixth stays standby", "A B C D E F", "A* B* C* D* E* F!", ""},
		{"a seventh too", "A B C D E F G", "A* B* C* D* E* F! G!", ""},
		{"a third makes up for one that was removed", "A B C", "A* B* C!", "promote C"},
		{"who was removed goes", "A B", "A* B* C*", "remove C"},
		{"a standby that was removed goes", "A", "A* B", "remove B"},
		{"the replacement comes before the replaced leaves", "A B C D=C", "A* B* C* D", ""},
		{"the replacement votes as soon as it can", "A B C D=C", "A* B* C* D!", "promote D"},
		{"then the replaced is forgotten", "A B C D=C", "A* B* C* D*", "forget C"},
		{"then it goes", "A B D", "A* B* C* D*", "remove C"},
		{"a leader that was removed leaves last", "B C", "A* B* C* X*", "remove X"},
		{"and hands over", "B C", "A* B* C*", "transfer B"},
		{"but not to a standby", "B", "A* B", ""},
		{"whom it gives its vote first", "B", "A* B!", "promote B"},
		{"and then hands over", "B", "A* B*", "transfer B"},
		{"a server that is alone is replaced by one", "A B=A", "A* B!", "promote B"},
		{"which then forgets it", "A B=A", "A* B*", "forget A"},
		{"who replaces itself replaces nobody", "A B=B", "A* B!", ""},
	} {
		do := draw(c.servers, c.members).next()
		if got := strings.TrimSpace(fmt.Sprint(do.act, " ", do.id)); got != c.want {
			t.Errorf("%s: %s as %s: got %q, want %q", c.name, c.servers, c.members, got, c.want)
		}
	}
}

func TestNext_MovesAMemberWhoseAddressChanged(t *testing.T) {
	p := draw("A B", "A* B")
	p.members[1].Address = "elsewhere"
	if do := p.next(); do != (step{actMove, "B", "at-B"}) {
		t.Errorf("got %+v", do)
	}
}

func TestNext_LetsAServerComeBackAnewAtItsOldAddress(t *testing.T) {
	p := draw("A B C D=C E", "A* B* C*")
	p.servers[3].PeerAddress = "at-C"
	for _, want := range []step{{actAdd, "E", "at-E"}, {act: actForget, id: "C"}} {
		if do := p.next(); do != want {
			t.Fatalf("got %+v, want %+v", do, want)
		} else if do.act == actAdd {
			p.members = append(p.members, cluster.Member{ID: "E", Address: "at-E"})
		}
	}
	p.servers = deleted(p.servers, func(s gestor.Server) bool { return s.ID == "C" })
	if do := p.next(); do != (step{act: actRemove, id: "C"}) {
		t.Fatalf("got %+v", do)
	}
	p.members = deleted(p.members, func(m cluster.Member) bool { return m.ID == "C" })
	if do := p.next(); do != (step{actAdd, "D", "at-C"}) {
		t.Fatalf("got %+v", do)
	}
}

func TestNext_IsNotHeldUpByTwoServersOfOneAddress(t *testing.T) {
	p := draw("A B C", "A* B* C* D*")
	p.servers[1].PeerAddress = "at-C"
	if do := p.next(); do != (step{act: actRemove, id: "D"}) {
		t.Errorf("got %+v", do)
	}
	p = draw("A B=A", "A*")
	p.servers[1].PeerAddress = "at-A"
	if do := p.next(); do.act != actNone {
		t.Errorf("the leader does not make way at its own address: got %+v", do)
	}
}

// carry does a step, as Raft and the state machine would.
func carry(p *picture, s step) {
	switch s.act {
	case actAdd:
		p.members = append(p.members, cluster.Member{ID: string(s.id), Address: s.address})
	case actMove, actPromote:
		for i := range p.members {
			if p.members[i].ID == string(s.id) {
				p.members[i].Voter = p.members[i].Voter || s.act == actPromote
				p.members[i].Address = "at-" + string(s.id)
			}
		}
	case actForget:
		p.servers = deleted(p.servers, func(x gestor.Server) bool { return x.ID == s.id })
		for i := range p.servers {
			if p.servers[i].Replaces == s.id {
				p.servers[i].Replaces = ""
			}
		}
	case actRemove:
		p.members = deleted(p.members, func(m cluster.Member) bool { return m.ID == string(s.id) })
	case actTransfer:
		p.self = s.id
	case actNone:
	}
}

func deleted[T any](in []T, gone func(T) bool) []T {
	var out []T
	for _, x := range in {
		if !gone(x) {
			out = append(out, x)
		}
	}
	return out
}

func TestNext_EndsWithTheServersThatAreToBeFromWhereverItBegins(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		p := picture{self: "A", ready: map[gestor.ServerID]bool{}}
		ids := []gestor.ServerID{"A", "B", "C", "D", "E", "F", "G"}
		for i, id := range ids {
			if i > 0 && rapid.Bool().Draw(r, "is to be") || i == 0 && rapid.Bool().Draw(r, "the leader stays") {
				s := gestor.Server{ID: id, PeerAddress: "at-" + string(id), CreatedAt: time.Unix(int64(i), 0)}
				s.Replaces = rapid.SampledFrom(append([]gestor.ServerID{""}, ids[:i]...)).Draw(r, "replaces")
				p.servers = append(p.servers, s)
			}
			if i == 0 || rapid.Bool().Draw(r, "is") {
				p.members = append(p.members, cluster.Member{ID: string(id), Address: "at-" + string(id), Voter: i == 0 || rapid.Bool().Draw(r, "votes")})
			}
			p.ready[id] = true
		}
		if len(p.servers) == 0 {
			return
		}
		began := fmt.Sprintf("%+v", p)
		for n := 0; ; n++ {
			do := p.next()
			if do.act == actNone {
				break
			}
			carry(&p, do)
			if n > 50 {
				r.Fatalf("it never ends, from %s", began)
			}
		}
		if len(p.members) != len(p.servers) {
			r.Fatalf("%d members, %d servers, from %s", len(p.members), len(p.servers), began)
		}
		if !p.votes(p.self) {
			r.Fatalf("who leads has no vote, from %s", began)
		}
	})
}
