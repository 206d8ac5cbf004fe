package servertest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server"
)

// Who a cluster belongs to.
const (
	Email    = "ana@example.com"
	Password = "correct horse battery"
)

// Cluster is some control servers in this process. Its methods end the test when they cannot do what they are asked.
type Cluster struct {
	Network *Network
	Servers []*Server // in the order they came

	t      testing.TB
	tuning server.Tuning
	pin    []byte
	token  string // of the admin
	made   int    // servers so far
	seen   rpc.Revision
}

// Server is one of them, running or not.
type Server struct {
	Name   string // also of its endpoint
	Dir    string // its data directory
	Public string // where people and agents reach it
	Peer   string // where the other servers reach it

	cluster *Cluster
	log     *lines
	clock   atomic.Int64 // how far its machine's clock is ahead of the test's
	mu      sync.Mutex
	running *server.Server
	stop    func() error // ends it and waits
}

// startLimit bounds everything that waits for a cluster to be well.
const startLimit = 60 * time.Second

// NewCluster starts n servers: the first makes the installation, the others join with a token each, as a person would
// let them. It returns when as many vote as should. They end with the test.
func NewCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	return NewTunedCluster(t, n, server.Tuning{})
}

// NewTunedCluster is NewCluster with servers that are more impatient than others.
func NewTunedCluster(t testing.TB, n int, tuning server.Tuning) *Cluster {
	t.Helper()
	c := &Cluster{Network: NewNetwork(t), t: t, tuning: tuning}
	t.Cleanup(c.end)
	first := c.newServer()
	c.start(first, "", nil)
	c.claim(first)
	for range n - 1 {
		c.Add()
	}
	if n > 1 {
		c.WaitVoters(VotersOf(n))
	}
	return c
}

// VotersOf is how many of n servers vote: not a second one before there is a third.
func VotersOf(n int) int {
	if n == 2 {
		return 1
	}
	return n
}

// Add lets one more server join.
func (c *Cluster) Add() *Server {
	c.t.Helper()
	s := c.newServer()
	res, err := c.Any().Servers().CreateServerToken(c.t.Context(), &gestorv1.CreateServerTokenRequest{})
	if err != nil {
		c.t.Fatalf("make a server token: %v", err)
	}
	c.start(s, res.GetToken(), []string{"https://" + c.Servers[0].Public})
	return s
}

func (c *Cluster) newServer() *Server {
	c.made++ // names are of one server each, also when others left
	name := fmt.Sprint("ctl", c.made)
	e := c.Network.Endpoint(name)
	s := &Server{
		Name: name, Dir: filepath.Join(c.t.TempDir(), "data"), cluster: c, log: &lines{},
		Public: e.Reserve(c.t), Peer: e.Reserve(c.t),
	}
	c.Servers = append(c.Servers, s)
	return s
}

// end kills all servers, all at once.
func (c *Cluster) end() {
	var ends sync.WaitGroup
	for _, s := range c.Servers {
		c.Network.Kill(s.Name)
		ends.Go(func() { _ = s.end() }) // killed servers may complain
	}
	ends.Wait()
	for _, s := range c.Servers {
		if c.t.Failed() {
			c.t.Logf("the log of %s:\n%s", s.Name, s.log)
		}
	}
}

// start runs a server, for the first time or again.
func (c *Cluster) start(s *Server, token string, join []string) {
	c.t.Helper()
	if err := s.run(token, join); err != nil {
		c.t.Fatalf("start %s: %v", s.Name, err)
	}
}

func (s *Server) run(token string, join []string) error {
	tuning := s.cluster.tuning
	tuning.Now = s.Time
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	running, err := server.New(ctx, server.Options{
		Config: server.Config{
			DataDir: s.Dir, Listen: s.Public, PublicURLs: []string{"https://" + s.Public}, Name: s.Name, PeerListen: s.Peer, PeerAddress: s.Peer,
			Join: join, LogLevel: "info", LogFormat: "text",
		},
		Version: "test", Log: slog.New(slog.NewTextHandler(s.log, nil)).With("server", s.Name), JoinToken: token,
		Network: s.cluster.Network.Endpoint(s.Name), Tuning: tuning,
		OnStall: func(call string) { s.cluster.t.Logf("%s: %s takes long", s.Name, call) }, // a busy machine is no broken disk
	})
	if err != nil {
		return err
	}
	live, end := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		err := running.Run(live)
		if err != nil {
			_, _ = fmt.Fprintf(s.log, "%s ended: %v\n", s.Name, err)
		}
		done <- err
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = running
	s.stop = sync.OnceValue(func() error {
		end()
		return errors.Join(<-done, running.Close())
	})
	return nil
}

// end stops the server if it runs.
func (s *Server) end() error {
	s.mu.Lock()
	stop := s.stop
	s.running, s.stop = nil, nil
	s.mu.Unlock()
	if stop == nil {
		return nil
	}
	return stop()
}

// Running reports whether the server was started and not killed.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running != nil
}

// Kill ends a server at once: it gets nothing through any more, its connections are reset, and its data directory stays
// as it is. Kill returns when nothing of it runs.
func (c *Cluster) Kill(s *Server) {
	c.t.Helper()
	c.Network.Kill(s.Name)
	if err := s.end(); err != nil {
		c.t.Logf("kill %s: %v", s.Name, err)
	}
}

// Stop ends a server as SIGTERM does.
func (c *Cluster) Stop(s *Server) {
	c.t.Helper()
	if err := s.end(); err != nil {
		c.t.Errorf("stop %s: %v", s.Name, err)
	}
}

// Start runs a killed or stopped server again, from its data directory.
func (c *Cluster) Start(s *Server) {
	c.t.Helper()
	c.Network.Revive(s.Name)
	c.start(s, "", nil)
}

// StartFails runs a stopped server again, which must not work, and returns why not.
func (c *Cluster) StartFails(s *Server) error {
	c.t.Helper()
	c.Network.Revive(s.Name)
	err := s.run("", nil)
	if err == nil {
		c.t.Errorf("%s has started", s.Name)
	}
	return err
}

// claim makes the cluster the admin's.
func (c *Cluster) claim(s *Server) {
	c.t.Helper()
	secret := readFile(c.t, s.Dir, "setup-secret")
	var err error
	if c.pin, err = hex.DecodeString(readFile(c.t, s.Dir, "server-root.pin")); err != nil {
		c.t.Fatal(err)
	}
	client := c.Client(s)
	setup := gestorv1connect.NewSetupServiceClient(client.HTTP, client.URL, client.Options()...)
	claim := &gestorv1.ClaimRequest{Secret: secret, TenantName: "Acme", Email: Email, Password: Password}
	claimed, err := setup.Claim(c.t.Context(), claim)
	if err != nil {
		c.t.Fatalf("claim: %v", err)
	}
	c.token = claimed.GetToken()
}

func readFile(t testing.TB, dir, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

// lines keeps what a server logs.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// Logged is all that a server has logged.
func (s *Server) Logged() []byte {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return bytes.Clone(s.log.buf.Bytes())
}

// String is the end of what was logged.
func (l *lines) String() string {
	const most = 20 << 10
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buf.Bytes()
	return string(b[max(0, len(b)-most):])
}
