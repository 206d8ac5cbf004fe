package nodes

import (
	"crypto/sha256"
	"time"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// board is what the leader knows in one term of the sessions at all servers. It is pure: times are handed to it, and are of
// this server's monotonic clock; other servers tell only how long ago something was.
type board struct {
	times   Times
	began   time.Time // of the term, or of a pause of this server: nobody could be heard before
	servers map[string]*reporter
	nodes   map[gestor.NodeID]*presence
}

// reporter is a server that reports its sessions.
type reporter struct {
	seq      uint64
	heard    time.Time // when it last reported
	total    int
	sessions map[gestor.NodeID]uint64 // the last number it reported of each node's sessions
}

// presence is a node.
type presence struct {
	recorded gestor.NodeStatus // what the state says; empty for a node the state was not read for
	print    [sha256.Size]byte // of the facts the state has
	facts    []byte            // to be committed; nil if there are none

	server string    // that has, or had, its newest session; empty before the first
	number uint64    // of that session, at that server
	order  uint64    // of that session, as the agent numbers them
	open   bool      // it has not ended, as far as its server has told
	heard  time.Time // when the agent was last heard; zero in a term in which it was not
	load   *gestorv1.NodeLoad
}

func newBoard(t Times, nodes []gestor.Node, now time.Time) *board {
	b := &board{times: t, began: now, servers: map[string]*reporter{}, nodes: make(map[gestor.NodeID]*presence, len(nodes))}
	for _, n := range nodes {
		b.nodes[n.ID] = &presence{recorded: n.Status, print: sha256.Sum256(n.Facts)}
	}
	return b
}

// verdict is what the leader answers to a report.
type verdict struct {
	resync     bool
	superseded []string
	alive      []*peerv1.SessionReport // those that count, for their leases
}

// report takes in what a server says. A report that does not follow the one before, or comes after a silence in which the
// server was given up, is answered with resync and has no effect.
func (b *board) report(now time.Time, r *peerv1.ReportSessionsRequest) verdict {
	server, whole := b.servers[r.GetServerId()], r.GetSeq() == 1
	if !whole && (server == nil || b.silent(server, now) || r.GetSeq() != server.seq+1 && r.GetSeq() != server.seq) {
		return verdict{resync: true}
	}
	if whole {
		b.forget(r.GetServerId())
		server = &reporter{sessions: map[gestor.NodeID]uint64{}}
		b.servers[r.GetServerId()] = server
	}
	server.seq, server.heard, server.total = r.GetSeq(), now, int(r.GetTotal())
	var v verdict
	for _, s := range r.GetSessions() {
		if b.see(now, r.GetServerId(), server, s) {
			v.alive = append(v.alive, s)
		} else {
			v.superseded = append(v.superseded, s.GetNodeId())
		}
	}
	for _, id := range r.GetLeft() {
		delete(server.sessions, gestor.NodeID(id))
		if p := b.nodes[gestor.NodeID(id)]; p != nil && p.server == r.GetServerId() {
			p.open = false
		}
	}
	return v
}

// forget takes all sessions of a server for ended: it is about to tell which it has, perhaps with new numbers.
func (b *board) forget(server string) {
	for _, p := range b.nodes {
		if p.server == server {
			p.open, p.number = false, 0
		}
	}
}

// see takes in one session. It reports false for one that a newer session elsewhere has taken the place of.
func (b *board) see(now time.Time, id string, server *reporter, s *peerv1.SessionReport) bool {
	node := gestor.NodeID(s.GetNodeId())
	p := b.nodes[node]
	if p == nil {
		p = &presence{}
		b.nodes[node] = p
	}
	first := server.sessions[node] != s.GetSession()
	server.sessions[node] = s.GetSession()
	if !p.yieldsTo(id, s, first) {
		return false
	}
	p.server, p.number, p.order, p.open = id, s.GetSession(), s.GetOrder(), true
	if heard := now.Add(-max(s.GetAge().AsDuration(), 0)); heard.After(p.heard) {
		p.heard = heard
	}
	if s.GetLoad() != nil {
		p.load = s.GetLoad()
	}
	if facts := s.GetFacts(); len(facts) > 0 && sha256.Sum256(facts) != p.print {
		p.facts = facts
	}
	return true
}

// yieldsTo reports whether a session is the node's newest so far. Where agents do not number theirs, the one that is
// reported for the first time is.
func (p *presence) yieldsTo(server string, s *peerv1.SessionReport, first bool) bool {
	switch {
	case p.server == "":
		return true
	case p.server == server:
		return s.GetSession() >= p.number
	case p.order != s.GetOrder() && p.order > 0 && s.GetOrder() > 0:
		return s.GetOrder() > p.order
	}
	return first
}

// silent reports whether a server is to be taken for dead, or cut off.
func (b *board) silent(r *reporter, now time.Time) bool { return now.Sub(r.heard) >= b.times.Server }

// status is what a node is now. One that is recorded as connected, but was not heard in this term, gets time to come back.
func (b *board) status(p *presence, now time.Time) gestor.NodeStatus {
	if p.heard.IsZero() {
		waits := p.recorded == gestor.NodeConnected || p.recorded == gestor.NodeSuspect
		if waits && now.Sub(b.began) >= b.times.Lost {
			return gestor.NodeLost
		}
		return p.recorded
	}
	server, quiet := b.servers[p.server], now.Sub(p.heard)
	switch {
	case quiet >= b.times.Lost:
		return gestor.NodeLost
	case !p.open || server == nil || b.silent(server, now) || quiet >= b.times.Suspect:
		return gestor.NodeSuspect
	}
	return gestor.NodeConnected
}

// change is a status to commit.
type change struct {
	node   gestor.NodeID
	status gestor.NodeStatus
	facts  []byte
}

// changes are what the state does not say yet.
func (b *board) changes(now time.Time) []change {
	var out []change
	for id, p := range b.nodes {
		if status := b.status(p, now); status != "" && (status != p.recorded || p.facts != nil) {
			out = append(out, change{id, status, p.facts})
		}
	}
	return out
}

// committed notes that the state says it now.
func (b *board) committed(now time.Time, c change) {
	p := b.nodes[c.node]
	if p == nil {
		return
	}
	p.recorded = c.status
	if len(c.facts) > 0 {
		p.print = sha256.Sum256(c.facts)
	}
	if len(p.facts) > 0 && sha256.Sum256(p.facts) == p.print {
		p.facts = nil
	}
	if c.status == gestor.NodeLost && b.status(p, now) == gestor.NodeLost {
		p.server, p.number, p.order, p.open, p.heard, p.load = "", 0, 0, false, time.Time{}, nil
	}
}

// excuse gives everybody a fresh grace, after a pause in which this server heard nobody.
func (b *board) excuse(now time.Time) {
	b.began = now
	for _, p := range b.nodes {
		if !p.heard.IsZero() {
			p.heard = now
		}
	}
	for _, r := range b.servers {
		r.heard = now
	}
}

// totals are how many sessions there are, and how many servers that hold them or could.
func (b *board) totals(now time.Time) (sessions, servers int) {
	for _, r := range b.servers {
		if !b.silent(r, now) {
			sessions, servers = sessions+r.total, servers+1
		}
	}
	return sessions, servers
}

// loads are the latest loads of nodes with a session; of all if none is named.
func (b *board) loads(ids []string) map[string]*gestorv1.NodeLoad {
	out := map[string]*gestorv1.NodeLoad{}
	put := func(id gestor.NodeID, p *presence) {
		if p != nil && p.open && p.load != nil {
			out[string(id)] = p.load
		}
	}
	for _, id := range ids {
		put(gestor.NodeID(id), b.nodes[gestor.NodeID(id)])
	}
	if len(ids) == 0 {
		for id, p := range b.nodes {
			put(id, p)
		}
	}
	return out
}
