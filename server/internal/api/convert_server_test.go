package api

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
)

// view draws a cluster: "a* b* c" are voters a and b and a standby c, of which a leads; a name in brackets does not answer, and
// one with a plus has not been taken in yet.
func view(drawn string) panorama {
	p := panorama{leader: "srv_a", status: map[gestor.ServerID]*peerv1.GetStatusResponse{}}
	for word := range strings.FieldsSeq(drawn) {
		name := strings.Trim(word, "*()+")
		id := gestor.ServerID("srv_" + name)
		p.servers = append(p.servers, gestor.Server{ID: id, Name: name})
		if !strings.Contains(word, "+") {
			p.members = append(p.members, cluster.Member{ID: string(id), Voter: strings.Contains(word, "*")})
		}
		if !strings.Contains(word, "(") {
			p.status[id] = &peerv1.GetStatusResponse{Version: "v1", Revision: 5000, DiskFreeBytes: 9 << 30, Agents: 3}
		}
	}
	return p
}

func TestListServers_SaysHowManyMayFailAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		drawn     string
		tolerates int32
		notice    string
	}{
		{"a*", 0, ""},
		{"a* b", 0, "one of the two servers votes"},
		{"a* b*", 0, "losing either"},
		{"a* b* c*", 1, ""},
		{"a* b* (c*)", 0, "1 of the 3 servers that vote do not answer; one more and"},
		{"a* b* c* d* (e*)", 1, "one more may fail"},
		{"a* b* c* d* e*", 2, ""},
		{"a* b* c* d", 1, ""},
		{"a* b* c* d* e* f* (g*)", 2, "2 more may fail"},
	} {
		out := view(c.drawn).out()
		if out.GetTolerates() != c.tolerates || !strings.Contains(out.GetNotice(), c.notice) || (c.notice == "") != (out.GetNotice() == "") {
			t.Errorf("%s: tolerates %d, %q", c.drawn, out.GetTolerates(), out.GetNotice())
		}
	}
	leaderless := view("(a*) (b*) c*")
	leaderless.leader = ""
	if n := leaderless.out().GetNotice(); !strings.Contains(n, "no server leads") || !strings.Contains(n, "1 of the 3") {
		t.Errorf("got %q", n)
	}
}

func TestListServers_SaysOfEachServerWhatAPersonShouldKnow(t *testing.T) {
	for _, c := range []struct {
		name, drawn string
		change      func(*peerv1.GetStatusResponse)
		role        gestorv1.ServerRole
		notice      string
	}{
		{"well", "a* b*", nil, gestorv1.ServerRole_SERVER_ROLE_VOTER, ""},
		{"gone", "a* (b*)", nil, gestorv1.ServerRole_SERVER_ROLE_VOTER, "gestor servers add --replace b"},
		{"enrolled only", "a* (b+)", nil, gestorv1.ServerRole_SERVER_ROLE_JOINING, "has used its token"},
		{"being taken in", "a* b+", nil, gestorv1.ServerRole_SERVER_ROLE_JOINING, "takes it in"},
		{"a second one", "a* b", nil, gestorv1.ServerRole_SERVER_ROLE_STANDBY, "until a third joins"},
		{"a third one", "a* b c", nil, gestorv1.ServerRole_SERVER_ROLE_STANDBY, "catches up"},
		{"a fourth one", "a* b c* d*", nil, gestorv1.ServerRole_SERVER_ROLE_STANDBY, "until a fifth joins"},
		{"a sixth one", "a* b c* d* e* f*", nil, gestorv1.ServerRole_SERVER_ROLE_STANDBY, "five servers vote"},
		{"slow", "a* b*", func(s *peerv1.GetStatusResponse) { s.Revision = 3000 }, gestorv1.ServerRole_SERVER_ROLE_VOTER, "2000 changes behind"},
		{"a little slow", "a* b*", func(s *peerv1.GetStatusResponse) { s.Revision = 4990 }, gestorv1.ServerRole_SERVER_ROLE_VOTER, ""},
		{"ahead", "a* b*", func(s *peerv1.GetStatusResponse) { s.Revision = 5001 }, gestorv1.ServerRole_SERVER_ROLE_VOTER, ""},
		{"another version", "a* b*", func(s *peerv1.GetStatusResponse) { s.Version = "v2" }, gestorv1.ServerRole_SERVER_ROLE_VOTER, "runs v2 and the leader v1"},
		{"by its own word", "a* b*", func(s *peerv1.GetStatusResponse) { s.Notice = "its backups fail" }, gestorv1.ServerRole_SERVER_ROLE_VOTER, "its backups fail"},
		{"full", "a* b*", func(s *peerv1.GetStatusResponse) { s.DiskFreeBytes = 1500 << 20 }, gestorv1.ServerRole_SERVER_ROLE_VOTER, "1500 MiB free"},
	} {
		p := view(c.drawn)
		if c.change != nil {
			c.change(p.status["srv_b"])
		}
		got := p.out().GetServers()[1]
		if got.GetRole() != c.role || !strings.Contains(got.GetNotice(), c.notice) || (c.notice == "") != (got.GetNotice() == "") {
			t.Errorf("%s: %s, %q", c.name, got.GetRole(), got.GetNotice())
		}
		if reached := p.status["srv_b"] != nil; got.GetReachable() != reached || (got.GetAgents() == 3) != reached || got.GetLeader() {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
	if a := view("a* b*").out().GetServers()[0]; !a.GetLeader() || a.GetBehind() != 0 {
		t.Errorf("got %v", a)
	}
}

func TestCompared_NamesTheTablesThatDiffer(t *testing.T) {
	servers := view("a* b* c*").servers
	same := members.MarkedState{Hash: "1", Tables: map[string]string{"apps": "x", "tasks": "y"}}
	other := members.MarkedState{Hash: "2", Tables: map[string]string{"apps": "x", "tasks": "z", "new": "n"}}
	states := map[gestor.ServerID]members.MarkedState{"srv_a": same, "srv_b": same, "srv_c": same}
	if out := compared(servers, "srv_a", states); !out.GetEqual() || len(out.GetServers()) != 3 {
		t.Errorf("got %v", out)
	}
	states["srv_b"] = other
	states["srv_c"] = members.MarkedState{Err: errors.Join(errors.New("secret inside"), fault.Unavailable("it is not there"))}
	out := compared(servers, "srv_a", states)
	b, c := out.GetServers()[1], out.GetServers()[2]
	if out.GetEqual() || !slices.Equal(b.GetDifferingTables(), []string{"new", "tasks"}) || b.GetHash() != "2" {
		t.Errorf("got %v", out)
	}
	if c.GetError() != "it is not there" || c.GetHash() != "" || len(c.GetDifferingTables()) > 0 {
		t.Errorf("got %v", c)
	}
	delete(states, "srv_a")
	if out := compared(servers, "srv_a", states); out.GetEqual() || out.GetServers()[0].GetError() == "" || len(out.GetServers()[1].GetDifferingTables()) > 0 {
		t.Errorf("without the leader: %v", out)
	}
}
