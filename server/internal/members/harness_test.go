package members_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

const (
	clusterName = "clu_test"
	tenant      = gestor.TenantID("ten_test")
	patience    = 30 * time.Second
)

// fleet is the servers of one cluster, in this process, over real connections.
type fleet struct {
	t    *testing.T
	root *pki.Root
	sums int
}

// server is one of them.
type server struct {
	fleet   *fleet
	id      string
	dir     string
	join    bool
	port    *peer.Port
	engine  *engine.Engine
	members *members.Service
	removed chan error // what RunRemoved returned

	mu   sync.Mutex
	self gestor.Server // guarded by mu
	stop func()        // idempotent
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	root, err := pki.NewRoot(clusterName, "server", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &fleet{t: t, root: root}
}

// found starts the first server, with a claimed installation.
func (f *fleet) found(id string) *server {
	f.t.Helper()
	s := f.open(id, f.t.TempDir(), "127.0.0.1:0", false)
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	if err := s.engine.Ready(ctx); err != nil {
		f.t.Fatal(err)
	}
	system := gestor.SystemActor("setup")
	s.propose(system, command.InitCluster{Cluster: gestor.Cluster{ID: clusterName}})
	s.propose(system, command.Claim{TenantID: tenant, TenantName: "Test", UserID: "usr_a", Email: "a@example.com"})
	f.until("the first server announces itself", func() bool { return len(s.rows()) == 1 })
	return s
}

// join starts a server and enrols it through another one.
func (f *fleet) join(id string, through *server, replaces gestor.ServerID) *server {
	f.t.Helper()
	s := f.open(id, f.t.TempDir(), "127.0.0.1:0", true)
	f.sums++
	secret := sha256.Sum256(fmt.Append(nil, "secret", f.sums))
	token := gestor.ServerToken{ID: fmt.Sprint("tok_", f.sums), SecretHash: secret[:], Replaces: replaces, ExpiresAt: time.Now().Add(time.Hour)}
	through.propose(actor(), command.CreateServerToken{Token: token})
	through.propose(gestor.SystemActor("enrol"), command.EnrollServer{TokenID: token.ID, SecretHash: secret[:], Server: s.who()})
	return s
}

// open starts a server with what is in dir.
func (f *fleet) open(id, dir, listen string, join bool) *server {
	f.t.Helper()
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: f.root, Cluster: clusterName, Server: id, Now: time.Now})
	if err != nil {
		f.t.Fatal(err)
	}
	s := &server{fleet: f, id: id, dir: dir, join: join, removed: make(chan error, 1)}
	s.port, err = peer.Open(f.t.Context(), peer.Options{
		Listen: listen, Self: id, Leaf: leaf, Verifier: pki.PeerVerifier{Roots: f.root.Pool(), Cluster: clusterName},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	s.engine, err = engine.Open(f.t.Context(), engine.Options{
		Dir: dir, ServerID: id, Version: "test", Transport: s.port.Transport(), Join: join, Heartbeat: 200 * time.Millisecond,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	s.self = gestor.Server{
		ID: gestor.ServerID(id), Name: "name-" + id[len("srv_"):], PeerAddress: s.port.Address(), Addresses: []string{"ctl.example.com:8443"},
		Version: "test", Level: command.Level,
	}
	s.run()
	return s
}

func (s *server) run() {
	s.port.Bind(s.engine.Members, s.engine.Leader)
	s.members = members.New(members.Options{
		Engine: s.engine, Port: s.port, Self: s.who, Interval: 50 * time.Millisecond, Silence: 500 * time.Millisecond, StartedAt: time.Now(),
	})
	s.engine.Forward(members.Forwarder(s.port))
	s.engine.OnTerm("members", s.members.RunTerm)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	mount := func(o ...connect.HandlerOption) (string, http.Handler) {
		return peerv1connect.NewReplicationServiceHandler(s.members, o...)
	}
	wg.Go(func() { _ = s.engine.Run(ctx) })
	wg.Go(func() { _ = s.port.Run(ctx, mount) })
	wg.Go(func() { _ = s.members.RunAnnounce(ctx) })
	wg.Go(func() { s.removed <- s.members.RunRemoved(ctx) })
	s.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := errors.Join(s.engine.Close(), s.port.Close()); err != nil {
			s.fleet.t.Errorf("close %s: %v", s.id, err)
		}
	})
	s.fleet.t.Cleanup(s.stop)
}

// restart starts a stopped server again, where it was or at another address.
func (s *server) restart(listen string) *server { return s.fleet.open(s.id, s.dir, listen, s.join) }

func (s *server) who() gestor.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.self
}

func (s *server) change(to func(*gestor.Server)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to(&s.self)
}

func actor() gestor.Actor {
	return gestor.Actor{Kind: "user", ID: "usr_a", Name: "a@example.com", TenantID: tenant}
}

func (s *server) propose(actor gestor.Actor, op command.Op) command.Receipt {
	s.fleet.t.Helper()
	ctx, cancel := context.WithTimeout(s.fleet.t.Context(), patience)
	defer cancel()
	r, err := s.engine.Propose(ctx, command.Command{Actor: actor, Op: op})
	if err != nil {
		s.fleet.t.Fatalf("propose %T on %s: %v", op, s.id, err)
	}
	return r
}

func (s *server) rows() []gestor.Server {
	rows, err := s.engine.View(gestor.SystemScope()).Servers(context.Background())
	if err != nil {
		s.fleet.t.Error(err)
	}
	return rows
}

// voters and standbys are what this server takes the members for.
func (s *server) voters() []string   { return s.membersThat(true) }
func (s *server) standbys() []string { return s.membersThat(false) }

func (s *server) membersThat(vote bool) []string {
	var out []string
	for _, m := range s.engine.Members() {
		if m.Voter == vote {
			out = append(out, m.ID)
		}
	}
	slices.Sort(out)
	return out
}

func (s *server) votersAre(ids ...string) func() bool {
	return func() bool { return slices.Equal(s.voters(), ids) && len(s.standbys()) == 0 }
}

func (f *fleet) until(what string, ok func() bool) {
	f.t.Helper()
	f.within(patience, what, ok)
}

func (f *fleet) within(limit time.Duration, what string, ok func() bool) {
	f.t.Helper()
	end := time.After(limit)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			f.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// leader is the one of servers that leads, as all of them see it.
func (f *fleet) leader(servers ...*server) *server {
	f.t.Helper()
	var found *server
	f.until("all agree on a leader", func() bool {
		found = nil
		for _, s := range servers {
			if s.id == servers[0].engine.Leader() && s.engine.IsLeader() {
				found = s
			}
		}
		return found != nil && !slices.ContainsFunc(servers, func(s *server) bool { return s.engine.Leader() != found.id })
	})
	return found
}

func others(of *server, servers ...*server) []*server {
	return slices.DeleteFunc(slices.Clone(servers), func(s *server) bool { return s == of })
}

// three is a cluster of three voters; the first one leads.
func three(t *testing.T) (*fleet, []*server) {
	t.Helper()
	f := newFleet(t)
	a := f.found("srv_a")
	all := []*server{a, f.join("srv_b", a, ""), f.join("srv_c", a, "")}
	for _, s := range all {
		f.until("three voters", s.votersAre("srv_a", "srv_b", "srv_c"))
	}
	return f, all
}

// memberOf is a member as a server knows it.
func memberOf(s *server, id string) cluster.Member {
	for _, m := range s.engine.Members() {
		if m.ID == id {
			return m
		}
	}
	return cluster.Member{}
}
