package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sys/unix"

	"github.com/saas-gestor/gestor/server/internal/admit"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/health"
	"github.com/saas-gestor/gestor/server/internal/logfile"
	"github.com/saas-gestor/gestor/server/internal/metrics"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// wireOperations adds what people and their monitoring see of a running server.
func (s *Server) wireOperations(p *parts, limits *api.Limits) {
	s.metrics.Watch(s.sources(p, limits))
	if s.options.Config.MetricsListen != "" {
		p.run = append(p.run, part{"metrics", func(ctx context.Context) error { return s.serveMetrics(ctx, p) }})
	}
	if s.options.Files != nil {
		p.run = append(p.run, part{"log files", reopenLogs(s.options.Files)}, part{"audit files", s.mirrorAudit})
	}
}

// admission is who is let in at the public port.
func (s *Server) admission() admit.Options {
	const unlimited = -1
	l := s.options.Config.Limits
	return admit.Options{
		TLS: s.parts.tls, Most: cmp.Or(l.Connections, unlimited), PerNetwork: cmp.Or(l.ConnectionsPerSource, unlimited),
		Refused: s.metrics.Refused, Log: s.log.With("component", "http"),
	}
}

// limits are how much callers may ask of this server.
func (s *Server) limits() *api.Limits {
	l := s.options.Config.Limits
	return api.NewLimits(api.LimitsOptions{
		AddressReads: l.AddressReads, AddressWrites: l.AddressWrites, TenantReads: l.TenantReads, TenantWrites: l.TenantWrites,
		NodeCalls: l.NodeCalls, CallsAtOnce: l.CallsAtOnce, StreamsPerSession: l.StreamsPerSession, StreamsPerNode: l.StreamsPerNode,
	})
}

// checks are what must be well for this server to be ready.
func (s *Server) checks(p *parts) []health.Check {
	return []health.Check{
		health.Leader(s.engine.LastContact),
		health.Applied(func() (commit, applied uint64) {
			stats := s.engine.Stats()
			return stats.Commit, stats.Applied
		}),
		{Name: "disk", Run: func(context.Context) error {
			if notice := p.disk.Notice(); notice != "" {
				return errors.New(notice)
			}
			return nil
		}},
		{Name: "secrets", Warning: true, Run: p.keys.Check},
	}
}

// diskFree is what an unprivileged process may still write where the data is, in bytes.
func (s *Server) diskFree() (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.options.Config.DataDir, &fs); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", s.options.Config.DataDir, err)
	}
	return fs.Bavail * uint64(fs.Bsize), nil
}

// served tells metrics and the access log of a request.
func (s *Server) served(r api.Served) {
	procedure := r.Path
	if !r.Known {
		procedure = "other"
	}
	if r.Stream {
		s.metrics.Streamed(procedure, r.Code)
	} else {
		s.metrics.Called(procedure, r.Code, r.Took)
	}
	s.log.LogAttrs(context.Background(), slog.LevelDebug, "request served",
		slog.String("request", r.Reference), slog.String("path", r.Path), slog.String("caller", r.Caller), slog.String("code", r.Code))
	if s.options.Files != nil {
		s.options.Files.Access(logfile.Entry{
			At: r.At, Took: r.Took, Reference: r.Reference, Caller: r.Caller, Tenant: r.Tenant, Address: r.Address,
			Procedure: r.Path, Code: r.Code, Received: r.Received, Sent: r.Sent,
		})
	}
}

// sources are what the metrics ask.
func (s *Server) sources(p *parts, limits *api.Limits) metrics.Sources {
	sources := metrics.Sources{
		Raft: s.raft, Sessions: p.nodes.Agents, Watchers: limits.Streams, Running: limits.Running, Tasks: s.tasks, DiskFree: s.diskFree,
	}
	if s.options.Files != nil {
		sources.LogDropped = s.options.Files.Dropped
	}
	if p.backups != nil {
		sources.LastBackup = func() time.Time { return p.backups.Status().LastSuccess }
	}
	return sources
}

func (s *Server) raft() metrics.Raft {
	stats, members := s.engine.Stats(), s.engine.Members()
	r := metrics.Raft{
		Leader: stats.Leader, Term: stats.Term, Commit: stats.Commit, Applied: stats.Applied, Last: stats.Last, Snapshot: stats.Snapshot,
		SinceContact: stats.LastContact, Members: len(members), Queue: stats.Queue, InFlight: stats.InFlight,
	}
	for _, m := range members {
		if m.Voter {
			r.Voters++
		}
	}
	return r
}

func (s *Server) tasks(ctx context.Context) (map[string]int, error) {
	counts, err := s.engine.View(gestor.SystemScope()).TaskCounts(ctx)
	out := map[string]int{}
	for state, n := range counts {
		out[string(state)] = n
	}
	return out, err
}

// mirrorAudit copies the audit log into files.
func (s *Server) mirrorAudit(ctx context.Context) error {
	changes := s.engine.Watch(state.Audit)
	defer changes.Close()
	read := s.engine.View(gestor.SystemScope()).AuditAfter
	return logfile.NewMirror(s.options.Files.Dir(), read, changes.C, s.log.With("component", "audit")).Run(ctx)
}

// serveMetrics serves metrics and health without TLS and without a sign-in, for an address that is private. Nothing there
// looks deeper into the process.
func (s *Server) serveMetrics(ctx context.Context, p *parts) error {
	at := s.options.Config.MetricsListen
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
	if err != nil {
		return fmt.Errorf("listen for metrics on %s: %w; choose another address with --metrics-listen, or stop what uses it", at, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", s.metrics.Handler())
	mux.HandleFunc("GET /healthz", health.Live())
	mux.HandleFunc("GET /readyz", health.Ready(s.options.Version, s.checks(p)...))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.With("component", "metrics").Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
