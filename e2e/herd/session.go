package herd

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// counters are kept while the herd runs.
type counters struct {
	connected atomic.Int64
	sessions  atomic.Int64
	resumed   atomic.Int64
	finished  atomic.Int64
}

// Connected is how many agents hold a session now.
func (h *Herd) Connected() int { return int(h.count.connected.Load()) }

// Sessions is how many sessions were opened, and how many of them without a full TLS handshake.
func (h *Herd) Sessions() (opened, resumed int) {
	return int(h.count.sessions.Load()), int(h.count.resumed.Load())
}

// Finished is how many tasks were done and acknowledged.
func (h *Herd) Finished() int { return int(h.count.finished.Load()) }

// Run keeps all agents connected until ctx ends.
func (h *Herd) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, a := range h.agents {
		a.server = i % len(h.o.Servers)
		g.Go(func() error {
			a.run(ctx)
			return nil
		})
	}
	return g.Wait()
}

// agent is one of the herd.
type agent struct {
	herd        *Herd
	name        string
	certificate tls.Certificate
	server      int
	highest     uint64            // fence
	pending     map[string]uint64 // fences of tasks that are done and not acknowledged; only one session at a time has them
}

// The agents' back-off, as the real ones have it.
const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
)

func (a *agent) run(ctx context.Context) {
	cache := tls.NewLRUClientSessionCache(1)
	for tries := 0; ctx.Err() == nil; tries++ {
		began := time.Now()
		_ = a.once(ctx, cache) // whatever ended it, the agent comes again
		if time.Since(began) > backoffMost {
			tries = 0
		}
		a.server = (a.server + 1) % len(a.herd.o.Servers)
		timer := time.NewTimer(rand.N(min(backoffFirst<<min(tries, 10), backoffMost)) + time.Millisecond) //nolint:gosec // any time will do
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

type stream = connect.BidiStreamForClientSimple[agentv1.SessionRequest, agentv1.SessionResponse]

// once holds one session to its end.
func (a *agent) once(ctx context.Context, cache tls.ClientSessionCache) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	transport := a.transport(cache)
	defer transport.CloseIdleConnections()
	server := a.herd.o.Servers[a.server]
	client := agentv1connect.NewAgentServiceClient(&http.Client{Transport: transport}, "https://"+server)
	s, err := client.Session(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = s.CloseRequest() })
	defer stop()
	if err := s.Send(a.hello()); err != nil {
		return err
	}
	welcome, err := s.Receive()
	if err != nil {
		return err
	}
	a.herd.count.sessions.Add(1)
	a.herd.count.connected.Add(1)
	defer a.herd.count.connected.Add(-1)
	return a.hold(ctx, cancel, s, max(welcome.GetHello().GetHeartbeat().AsDuration(), 100*time.Millisecond))
}

func (a *agent) hello() *agentv1.SessionRequest {
	hello := &agentv1.AgentHello{
		Version: "herd", BootId: "herd", Facts: &gestorv1.NodeFacts{Hostname: a.name, Cpus: 2, Os: "linux"}, Revision: a.highest,
	}
	for task, fence := range a.pending {
		hello.Tasks = append(hello.Tasks, &agentv1.HeldTask{TaskId: task, Fence: fence})
	}
	return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: hello}}
}

func (a *agent) transport(cache tls.ClientSessionCache) *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	return &http.Transport{
		Protocols: protocols,
		TLSClientConfig: &tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: a.herd.roots, ServerName: a.herd.name, NextProtos: []string{"h2"},
			ClientSessionCache: cache, Certificates: []tls.Certificate{a.certificate},
			VerifyConnection: func(s tls.ConnectionState) error {
				if s.DidResume {
					a.herd.count.resumed.Add(1)
				}
				return nil
			},
		},
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

// hold answers until the stream breaks. Two goroutines: one reads, one speaks.
func (a *agent) hold(ctx context.Context, cancel context.CancelFunc, s *stream, beat time.Duration) error {
	out := make(chan *agentv1.SessionRequest, 16)
	var g errgroup.Group
	g.Go(func() error {
		defer cancel()
		return a.speak(ctx, s, out, beat)
	})
	g.Go(func() error {
		defer cancel()
		return a.listen(ctx, s, out)
	})
	return g.Wait()
}

func (a *agent) speak(ctx context.Context, s *stream, out <-chan *agentv1.SessionRequest, beat time.Duration) error {
	first := time.NewTimer(rand.N(beat)) //nolint:gosec // any time will do, so that the herd does not beat as one
	defer first.Stop()
	load := &gestorv1.NodeLoad{Cpu: 0.1, MemoryUsedBytes: 1 << 30, DiskUsedBytes: 1 << 33, Load1: 0.2}
	for {
		var m *agentv1.SessionRequest
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m = <-out:
		case <-first.C:
			first.Reset(beat)
			m = &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Heartbeat{Heartbeat: &agentv1.Heartbeat{Load: load}}}
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
}

func (a *agent) listen(ctx context.Context, s *stream, out chan<- *agentv1.SessionRequest) error {
	say := func(m *agentv1.SessionRequest) {
		select {
		case out <- m:
		case <-ctx.Done():
		}
	}
	for task, fence := range a.pending {
		say(finished(task, fence))
	}
	for {
		m, err := s.Receive()
		if err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *agentv1.SessionResponse_Goodbye:
			return nil
		case *agentv1.SessionResponse_Acknowledged:
			delete(a.pending, m.Acknowledged.GetTaskId())
			a.herd.count.finished.Add(1)
		case *agentv1.SessionResponse_Assign:
			a.work(m.Assign.GetTask(), say)
		}
	}
}

func (a *agent) work(t *agentv1.TaskSpec, say func(*agentv1.SessionRequest)) {
	a.highest = max(a.highest, t.GetFence())
	if a.herd.o.Tasks != nil {
		a.herd.o.Tasks(t.GetId())
	}
	say(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Started{Started: &agentv1.TaskStarted{TaskId: t.GetId(), Fence: t.GetFence()}}})
	a.pending[t.GetId()] = t.GetFence()
	say(finished(t.GetId(), t.GetFence()))
}

func finished(task string, fence uint64) *agentv1.SessionRequest {
	return &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Finished{Finished: &agentv1.TaskFinished{
		TaskId: task, Fence: fence, Outcome: agentv1.Outcome_OUTCOME_SUCCEEDED,
	}}}
}
