package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/admit"
	"github.com/saas-gestor/gestor/server/internal/clock"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/config"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/logfile"
	"github.com/saas-gestor/gestor/server/internal/metrics"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/rescue"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// Config is the server's settings.
type Config = config.Config

// Options are what a server needs besides its settings.
type Options struct {
	Config  Config
	Version string
	Out     io.Writer      // people read it: how to claim the installation
	Log     *slog.Logger   // nil discards
	Files   *logfile.Files // the log files that OpenLogs opened; nil for none

	JoinToken string            // a secret; needed at the first start of a server with Config.Join
	Keys      Keys              // where else than in the data directory the key ring may be
	Network   peer.Network      // how servers reach each other; nil means TCP
	OnStall   func(call string) // what happens when the disk hangs; by default the process ends
	Tuning    Tuning            // zero is what servers live with
}

// Server is an open control server.
type Server struct {
	options Options
	log     *slog.Logger
	metrics *metrics.Metrics
	lock    *dirLock
	ring    *secret.Ring
	clock   *clock.Clock
	leaf    *pki.ServerLeaf
	port    *peer.Port
	engine  *engine.Engine
	id      identity
	parts   *parts
	http    *http.Server
	listen  net.Listener
	close   context.CancelCauseFunc // ends all requests under way
}

// startTimeout bounds opening the state and, with several servers, finding a leader.
const startTimeout = 2 * time.Minute

// New takes the data directory, opens what is in it, makes the installation's identity on the first start, and listens.
// Errors say what to do. The caller calls Run, then Close.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := o.Config.Check(); err != nil {
		return nil, err
	}
	s := &Server{options: o, log: o.Log, metrics: metrics.New(o.Version)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	dir := s.options.Config.DataDir
	var err error
	if s.lock, err = takeDir(dir); err != nil {
		return err
	}
	if err := rescue.Finish(dir); err != nil {
		return fmt.Errorf("finish a recovery: %w", err)
	}
	if err := s.join(ctx); err != nil {
		return err
	}
	if s.ring, err = openRing(s.options.places()); err != nil {
		return err
	}
	s.clock = clock.New(s.options.Tuning.Now, lastWritten(filepath.Join(dir, "raft", "log")))
	if s.id, err = openIdentity(dir, s.ring, s.options.Config, s.clock.Own()); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, pinFile), s.id.pin()+"\n"); err != nil {
		return err
	}
	if err := s.openEngine(ctx); err != nil {
		return err
	}
	if s.parts, err = wire(s); err != nil { //nolint:contextcheck // what notices ask later is in memory
		return err
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.bind(ctx)
}

// openEngine opens the way to the other servers and, over it, replication and state.
func (s *Server) openEngine(ctx context.Context) error {
	c := s.options.Config
	var err error
	s.leaf, err = pki.NewServerLeaf(pki.LeafOptions{
		Root: s.id.serverRoot, Cluster: string(s.id.cluster.ID), Server: s.id.server, Hosts: s.hosts(), Now: s.clock.Now,
	})
	if err != nil {
		return err
	}
	listen, advertise := c.PeerListen, ""
	if listen == "" {
		listen = "127.0.0.1:0"
	} else if advertise, err = s.peerAddress(); err != nil && s.id.joined {
		return err
	}
	s.port, err = peer.Open(ctx, peer.Options{
		Listen: listen, Advertise: advertise, Self: s.id.server, Incarnation: s.id.incarnation, Leaf: s.leaf, Network: s.options.Network, Log: s.log.With("component", "peer"),
		Verifier: pki.PeerVerifier{Roots: s.id.serverRoot.Pool(), Cluster: string(s.id.cluster.ID)},
	})
	if err != nil {
		return err
	}
	s.engine, err = engine.Open(ctx, engine.Options{
		Dir: c.DataDir, ServerID: s.id.server, Version: s.options.Version, Log: s.log,
		Transport: s.port.Transport(), Join: s.id.joined, OnStall: s.options.OnStall, Heartbeat: time.Duration(c.Heartbeat),
		OnPropose: s.metrics.Proposed, OnBatch: s.metrics.Batched, SnapshotAfter: s.options.Tuning.SnapshotAfter, Now: s.clock.Now,
	})
	if err != nil {
		return err
	}
	if err := noteReplicated(c.DataDir); err != nil {
		return err
	}
	s.port.Bind(s.engine.Members, s.engine.Leader)
	s.port.BindLeaderless(s.engine.Leaderless)
	return nil
}

// settle waits until a server that is alone is ready, and makes the installation on its first start. One of several starts
// to serve at once: it answers what it can until a majority is there.
func (s *Server) settle(ctx context.Context) error {
	members := s.engine.Members()
	if len(members) != 1 || members[0].ID != s.id.server {
		return nil
	}
	if err := s.engine.Ready(ctx); err != nil {
		return fmt.Errorf("wait for the state: %w", err)
	}
	if err := s.initCluster(ctx); err != nil {
		return err
	}
	return s.register(ctx)
}

// register writes the server that is alone among the known ones before anybody can join it: who is not known is taken
// out of the cluster.
func (s *Server) register(ctx context.Context) error {
	_, err := s.engine.Propose(ctx, command.Command{Actor: gestor.SystemActor("members"), Op: command.PutServer{Server: s.self()}})
	if err != nil {
		return fmt.Errorf("register this server: %w", err)
	}
	return nil
}

// bind starts to listen. Nothing is answered before Run.
func (s *Server) bind(ctx context.Context) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.options.Config.Listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w; choose another address with --listen, or stop what uses it", s.options.Config.Listen, err)
	}
	requests, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // outlives Run's context by the grace of shutdown
	s.listen, s.close = l, cancel
	s.http = newHTTPServer(s.parts.handler, s.parts.tls, s.log)
	s.http.BaseContext = func(net.Listener) context.Context { return requests }
	return nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listen.Addr() }

// Run serves until ctx ends or a part fails. It returns when all parts have stopped; nil if ctx ended them.
func (s *Server) Run(ctx context.Context) error {
	if err := s.announce(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // a little longer than ctx, to hand leadership over
	defer stop()
	leave := context.AfterFunc(ctx, func() {
		s.handOver()
		stop()
	})
	defer leave()
	s.parts.members.CompareClocks(ctx) // before anything is judged by this server's own
	g, running := errgroup.WithContext(serving)
	for _, part := range s.parts.run {
		g.Go(func() error { return named(part.name, part.run(running)) })
	}
	g.Go(func() error { return named("http", s.serve()) })
	g.Go(func() error {
		<-running.Done()
		return s.shutdown(context.WithoutCancel(running))
	})
	s.log.Info("server started", "address", s.listen.Addr().String(), "version", s.options.Version, "cluster", s.id.cluster.ID)
	notify("READY=1")
	defer s.log.Info("server stopped")
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// handOver gives leadership to another voter, so that nobody waits for an election.
func (s *Server) handOver() {
	others := slices.ContainsFunc(s.port.Others(), func(m cluster.Member) bool { return m.Voter })
	if !others || !s.engine.IsLeader() {
		return
	}
	if err := s.engine.TransferLeader(""); err != nil {
		s.log.Warn("could not hand leadership over, the others will elect", "err", err)
	}
}

func named(part string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", part, err)
}

func (s *Server) serve() error {
	if err := s.http.Serve(admit.New(s.listen, s.admission())); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const (
	requestGrace  = 2 * time.Second  // for requests under way to end by themselves
	shutdownLimit = 10 * time.Second // then connections are cut
)

// shutdown lets requests under way end, then ends streams with a word on what to do, then cuts.
func (s *Server) shutdown(ctx context.Context) error {
	notify("STOPPING=1")
	timer := time.AfterFunc(requestGrace, func() {
		s.close(fault.Unavailable("this server is closing").WithRetryAfter(time.Second).WithFix("try again in a moment"))
	})
	defer timer.Stop()
	ctx, cancel := context.WithTimeout(ctx, shutdownLimit)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.log.Warn("connections cut at shutdown", "err", err)
		return s.http.Close()
	}
	return nil
}

// Close gives everything back. It is called after Run has returned, or instead of it.
func (s *Server) Close() error {
	var errs []error
	if s.close != nil {
		s.close(context.Canceled)
	}
	if s.listen != nil {
		errs = append(errs, ignoreClosed(s.listen.Close()))
	}
	if s.parts != nil {
		errs = append(errs, s.parts.Close())
	}
	if s.engine != nil {
		errs = append(errs, s.engine.Close())
	}
	if s.port != nil {
		errs = append(errs, s.port.Close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
