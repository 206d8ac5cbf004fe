package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
)

// panorama is all that is known of the control servers at one moment.
type panorama struct {
	servers []gestor.Server // by name
	members []cluster.Member
	leader  gestor.ServerID
	status  map[gestor.ServerID]*peerv1.GetStatusResponse // of those that answered
}

// roleOf is what a server does in the replication; false if it is not in it.
func roleOf(all []cluster.Member, id gestor.ServerID) (gestorv1.ServerRole, bool) {
	for _, m := range all {
		switch {
		case m.ID != string(id):
		case m.Voter:
			return gestorv1.ServerRole_SERVER_ROLE_VOTER, true
		default:
			return gestorv1.ServerRole_SERVER_ROLE_STANDBY, true
		}
	}
	return gestorv1.ServerRole_SERVER_ROLE_JOINING, false
}

func (p panorama) out() *gestorv1.ListServersResponse {
	out := &gestorv1.ListServersResponse{}
	for _, s := range p.servers {
		out.Servers = append(out.Servers, p.server(s))
	}
	voters, live := p.voters()
	out.Tolerates = int32(max(0, live-(voters/2+1)))
	out.Notice = p.notice(voters, live)
	return out
}

// voters counts those that vote and those of them that answered.
func (p panorama) voters() (all, live int) {
	for _, m := range p.members {
		if m.Voter {
			all++
			if p.status[gestor.ServerID(m.ID)] != nil {
				live++
			}
		}
	}
	return all, live
}

func (p panorama) server(s gestor.Server) *gestorv1.Server {
	role, _ := roleOf(p.members, s.ID)
	out := &gestorv1.Server{
		Id: string(s.ID), Name: s.Name, PeerAddress: s.PeerAddress, Addresses: s.Addresses, Role: role, Leader: s.ID == p.leader,
		CreatedAt: timeOut(s.CreatedAt),
	}
	if now := p.status[s.ID]; now != nil {
		out.Reachable, out.Version, out.Level, out.Revision = true, now.GetVersion(), now.GetLevel(), now.GetRevision()
		out.StartedAt, out.Agents, out.DiskFreeBytes = now.GetStartedAt(), now.GetAgents(), now.GetDiskFreeBytes()
		out.Behind = p.newest() - min(now.GetRevision(), p.newest())
	}
	out.Notice = p.noticeOf(out)
	return out
}

// newest is the revision of the leader, or of whoever is furthest where none answered.
func (p panorama) newest() uint64 {
	if now := p.status[p.leader]; now != nil {
		return now.GetRevision()
	}
	var newest uint64
	for _, now := range p.status {
		newest = max(newest, now.GetRevision())
	}
	return newest
}

const (
	farBehind = 1000    // revisions that a server may be behind without a word
	lowDisk   = 2 << 30 // free bytes under which a person should know; at half of it a server stops working
)

// noticeOf says the most important thing there is to say of a server.
func (p panorama) noticeOf(s *gestorv1.Server) string {
	leader := p.status[p.leader]
	switch {
	case !s.Reachable && s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_JOINING:
		return "it has used its token and does not answer yet at " + s.GetPeerAddress()
	case !s.Reachable:
		return "it does not answer at " + s.GetPeerAddress() + ": start it, see that the other servers can connect there, or replace it with " +
			"`gestor servers add --replace " + s.GetName() + "`"
	case s.GetDiskFreeBytes() > 0 && s.GetDiskFreeBytes() < lowDisk:
		return fmt.Sprintf("its disk has %d MiB free: make room, it stops working at %d MiB", s.GetDiskFreeBytes()>>20, lowDisk>>21)
	case s.GetBehind() > farBehind:
		return fmt.Sprintf("it is %d changes behind and catches up", s.GetBehind())
	case leader != nil && s.GetVersion() != leader.GetVersion():
		return fmt.Sprintf("it runs %s and the leader %s: upgrade the older one", s.GetVersion(), leader.GetVersion())
	case p.status[gestor.ServerID(s.GetId())].GetNotice() != "":
		return p.status[gestor.ServerID(s.GetId())].GetNotice()
	case s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_JOINING:
		return "the leader takes it in now"
	case s.GetRole() == gestorv1.ServerRole_SERVER_ROLE_STANDBY:
		return p.waits()
	}
	return ""
}

// waits says what a standby waits for.
func (p panorama) waits() string {
	switch n := len(p.servers); {
	case n == 2:
		return "it has every change and no vote: a second server stays standby until a third joins"
	case n == 4:
		return "it has every change and no vote: a fourth server stays standby until a fifth joins"
	case n > 5:
		return "it has every change and no vote: five servers vote"
	}
	return "it catches up, then it gets its vote"
}

// notice says the most important thing there is to say of all.
func (p panorama) notice(voters, live int) string {
	switch missing := voters - live; {
	case p.leader == "":
		return fmt.Sprintf("no server leads, nothing can be changed: %d of the %d servers that vote answer, %d are needed", live, voters, voters/2+1)
	case missing > 0:
		return fmt.Sprintf("%d of the %d servers that vote do not answer; %s", missing, voters, more(live-(voters/2+1)))
	case voters == 2:
		return "two servers vote, so that losing either of them stops all changes: add a third with `gestor servers add`"
	case voters == 1 && len(p.servers) == 2:
		return "one of the two servers votes, and losing it stops all changes: add a third with `gestor servers add`"
	}
	return ""
}

func more(n int) string {
	switch {
	case n < 1:
		return "one more and all changes stop"
	case n == 1:
		return "one more may fail"
	}
	return fmt.Sprintf("%d more may fail", n)
}

// compared is the comparison of states with that of the leader, or of the first that has one.
func compared(servers []gestor.Server, leader gestor.ServerID, states map[gestor.ServerID]members.MarkedState) *gestorv1.CheckServersResponse {
	measure := states[leader]
	for _, s := range servers {
		if measure.Hash == "" {
			measure = states[s.ID]
		}
	}
	out := &gestorv1.CheckServersResponse{Equal: len(servers) > 0}
	for _, s := range servers {
		state, asked := states[s.ID]
		c := &gestorv1.ServerCheck{Name: s.Name, Hash: state.Hash, DifferingTables: differing(measure.Tables, state.Tables)}
		switch {
		case state.Err != nil:
			c.Hash, c.DifferingTables, c.Error = "", nil, told(state.Err)
		case !asked || state.Hash == "":
			c.DifferingTables, c.Error = nil, "it did not answer"
		}
		out.Equal = out.Equal && c.GetError() == "" && c.GetHash() == measure.Hash
		out.Servers = append(out.Servers, c)
	}
	return out
}

// told is what may be shown of an error of another server.
func told(err error) string {
	ce, _ := rpc.Encode(err, "none")
	return ce.Message()
}

// differing are the tables, by name, whose hashes differ or that only one side has.
func differing(a, b map[string]string) []string {
	var out []string
	for name := range maps.Keys(a) {
		if a[name] != b[name] {
			out = append(out, name)
		}
	}
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, strings.Compare)
	return out
}
