package members

import (
	"cmp"
	"slices"

	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// mostVoters is how many servers vote at most: more of them make writing slower and hardly anything safer.
const mostVoters = 5

// picture is all that the leader's decision depends on.
type picture struct {
	self    gestor.ServerID
	servers []gestor.Server          // that are to be
	members []cluster.Member         // that are
	ready   map[gestor.ServerID]bool // standbys that have caught up
}

// act is one change of who replicates.
type act string

const (
	actNone     act = ""
	actMove     act = "move"     // give a member another address
	actAdd      act = "add"      // make a server a standby
	actPromote  act = "promote"  // give a standby its vote
	actForget   act = "forget"   // delete the server that another one has replaced
	actRemove   act = "remove"   // take a member out
	actTransfer act = "transfer" // hand leadership over, because this server is to leave
)

// step is an act on a server.
type step struct {
	act     act
	id      gestor.ServerID
	address string
}

// next is what to do now; actNone when all is as it should be. One change is made at a time and then looked at anew.
func (p picture) next() step {
	for _, find := range []func() step{p.move, p.add, p.promote, p.forget, p.remove, p.transfer} {
		if s := find(); s.act != actNone {
			return s
		}
	}
	return step{}
}

func (p picture) member(id gestor.ServerID) (cluster.Member, bool) {
	i := slices.IndexFunc(p.members, func(m cluster.Member) bool { return m.ID == string(id) })
	if i < 0 {
		return cluster.Member{}, false
	}
	return p.members[i], true
}

func (p picture) votes(id gestor.ServerID) bool {
	m, ok := p.member(id)
	return ok && m.Voter
}

func (p picture) known(id gestor.ServerID) bool {
	return slices.ContainsFunc(p.servers, func(s gestor.Server) bool { return s.ID == id })
}

func (p picture) move() step {
	for _, s := range p.servers {
		if m, ok := p.member(s.ID); ok && m.Address != s.PeerAddress && !p.isTaken(s) {
			return step{actMove, s.ID, s.PeerAddress}
		}
	}
	return step{}
}

func (p picture) add() step {
	for _, s := range p.servers {
		if _, ok := p.member(s.ID); !ok && !p.isTaken(s) {
			return step{actAdd, s.ID, s.PeerAddress}
		}
	}
	return step{}
}

// isTaken reports whether another member has the server's address: Raft takes no two of one address, and trying would
// keep all other changes from being made.
func (p picture) isTaken(s gestor.Server) bool {
	return slices.ContainsFunc(p.members, func(m cluster.Member) bool { return m.Address == s.PeerAddress && m.ID != string(s.ID) })
}

// promote gives votes to servers that stay and have caught up, the oldest first, until there are as many voters as there
// should be: an odd number, because a second of two makes the cluster die more easily and not less.
func (p picture) promote() step {
	voting, waiting := 0, []gestor.Server(nil)
	for _, s := range p.servers {
		switch {
		case p.isReplaced(s.ID):
		case p.votes(s.ID):
			voting++
		case p.ready[s.ID]:
			waiting = append(waiting, s)
		}
	}
	wanted := voting + len(waiting)
	wanted = min(wanted-1+wanted%2, mostVoters)
	if len(waiting) == 0 || voting >= wanted {
		return step{}
	}
	oldest := slices.MinFunc(waiting, func(a, b gestor.Server) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return step{act: actPromote, id: oldest.ID}
}

// isReplaced reports whether another server that votes or could is there in place of id.
func (p picture) isReplaced(id gestor.ServerID) bool {
	return slices.ContainsFunc(p.servers, func(s gestor.Server) bool {
		return s.Replaces == id && s.ID != id && (p.votes(s.ID) || p.ready[s.ID])
	})
}

// forget waits until the new server votes, but where it stands at the old one's address: that one is gone for good then,
// and in its way.
func (p picture) forget() step {
	for _, s := range p.servers {
		old, is := p.member(s.Replaces)
		inTheWay := is && old.Address == s.PeerAddress && s.Replaces != p.self
		if s.Replaces != "" && s.Replaces != s.ID && (p.votes(s.ID) || inTheWay) && p.known(s.Replaces) {
			return step{act: actForget, id: s.Replaces}
		}
	}
	return step{}
}

func (p picture) remove() step {
	for _, m := range p.members {
		if id := gestor.ServerID(m.ID); id != p.self && !p.known(id) {
			return step{act: actRemove, id: id}
		}
	}
	return step{}
}

// transfer waits until there is a voter that stays: a leader that is removed does not leave a cluster without one.
func (p picture) transfer() step {
	if p.known(p.self) {
		return step{}
	}
	for _, s := range p.servers {
		if p.votes(s.ID) {
			return step{act: actTransfer, id: s.ID}
		}
	}
	return step{}
}
