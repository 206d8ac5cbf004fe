package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// refusesToJoin starts a fresh server with a token and requires it to give up with some words.
func (w *world) refusesToJoin(token string, prepare func(*stack.Server), words ...string) {
	w.t.Helper()
	server, err := w.NewHost(w.t.Context(), true)
	must(w.t, err)
	if prepare != nil {
		prepare(server)
	}
	if err := w.Join(w.t.Context(), server, token); err == nil {
		w.t.Errorf("%s joined, want it refused with %q", server.Host, words)
	}
	w.says(server, words...)
	raw, err := os.ReadFile(server.Log)
	must(w.t, err)
	if strings.Contains(string(raw), token) {
		w.t.Errorf("the log of %s holds the token", server.Host)
	}
}

func (w *world) token(name string) string {
	w.t.Helper()
	token, err := w.ServerToken(w.t.Context(), name)
	must(w.t, err)
	return token
}

func TestServers_WhoMayNotJoinIsToldWhy(t *testing.T) {
	w := startWith(t, stack.Options{Network: true})
	other := startWith(t, stack.Options{Network: true})

	used := w.token("")
	second, err := w.NewHost(t.Context(), true)
	must(t, err)
	must(t, w.Join(t.Context(), second, used))
	w.Servers = append(w.Servers, second)
	w.refusesToJoin(used, nil, "used by another host", "make a new one")
	w.refusesToJoin("gst1.not-a-token", nil, "GESTOR_JOIN_TOKEN", "gestor servers add")
	w.refusesToJoin(other.token(""), nil, "pin")
	w.refusesToJoin(w.token(""), func(s *stack.Server) {
		must(t, os.MkdirAll(filepath.Join(s.DataDir, "raft"), 0o700))
	}, "another installation's data", "empty")
	if all := w.info(second); all == nil {
		t.Error("the server that joined is not there")
	}
}

func TestServers_ABlockedPeerPortIsNamed(t *testing.T) {
	w := startWith(t, stack.Options{Network: true})
	first := w.Servers[0]
	second, err := w.NewHost(t.Context(), true)
	must(t, err)
	must(t, w.Network.CutPort(t.Context(), first.Host, second.Host, stack.PeerPort))
	w.Servers = append(w.Servers, second)
	must(t, w.Join(t.Context(), second, w.token(second.Host)))
	w.until("the list to name the port", func() bool {
		return strings.Contains(w.info(second).GetNotice(), "8444")
	})
	must(t, w.Heal(t.Context()))
	w.until("the server to be well", func() bool {
		i := w.info(second)
		return i.GetReachable() && i.GetBehind() == 0 && i.GetRevision() > 0
	})
}

func TestServers_TheLastOneAndTheMajorityAreKept(t *testing.T) {
	w := startWith(t, stack.Options{Servers: 3})
	w.Servers[2].Kill()
	w.refused(5, []string{"2 of the 2 servers that vote are needed", "--force"}, "servers", "remove", w.Servers[1].Host, "--yes")
	w.cli("servers", "remove", w.Servers[2].Host, "--yes") // the dead one may go
	w.Forget(w.Servers[2])
	w.cli("servers", "remove", w.Servers[1].Host, "--yes")
	w.says(w.Servers[1], "removed from the cluster")
	w.Forget(w.Servers[1])
	w.refused(5, []string{"only server"}, "servers", "remove", w.Servers[0].Host, "--yes")
}
