package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// tailPrefix begins the log ids of tails; all others are tasks.
const tailPrefix = "tail/"

// grantTime is how long a task's right to log is remembered on a stream.
const grantTime = time.Second

type logStream = connect.BidiStream[agentv1.PushLogsRequest, agentv1.PushLogsResponse]

// grant is a task's right to log on this stream, as looked up last.
type grant struct {
	attempt int // the task's; 0 if the node may not log for it
	until   time.Time
}

// PushLogs stores log lines of tasks and passes on those of tails. Lines that wait for other servers to store them hold
// up none that come after them; they are acknowledged in order.
func (s *Service) PushLogs(ctx context.Context, stream *logStream) error {
	node, _, err := s.node(ctx)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	p := &pushing{Service: s, node: node, stream: stream, grants: map[string]grant{}, waiting: make(chan chunk, chunksWaiting)}
	g.Go(func() error { return p.receive(ctx) })
	g.Go(func() error { return p.acknowledge(ctx) })
	return g.Wait()
}

// chunksWaiting is how many chunks of a stream may wait for other servers; an agent sends so much only if they are small.
const chunksWaiting = 512

// pushing is one stream of lines.
type pushing struct {
	*Service
	node    gestor.NodeID
	grants  map[string]grant
	waiting chan chunk

	sending sync.Mutex
	stream  *logStream // sends are guarded by sending
}

// chunk is lines that this server has and others get.
type chunk struct {
	log    string
	stored func(context.Context) (uint64, error)
}

// receive takes lines until the agent ends the stream.
func (p *pushing) receive(ctx context.Context) error {
	defer close(p.waiting)
	for {
		m, err := p.stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive log lines: %w", err)
		}
		if err := p.take(ctx, m); err != nil {
			return err
		}
	}
}

// take stores a chunk, or answers at once.
func (p *pushing) take(ctx context.Context, m *agentv1.PushLogsRequest) error {
	id := m.GetLogId()
	answer := &agentv1.PushLogsResponse{LogId: id}
	if strings.HasPrefix(id, tailPrefix) {
		answer.AckedSeq, answer.Unwanted = p.passOn(p.node, m)
		return p.send(answer)
	}
	g, err := p.mayLog(ctx, p.node, p.grants, m)
	if err != nil {
		return err
	}
	attempt := int(m.GetAttempt())
	if attempt == 0 {
		attempt = g.attempt
	}
	if attempt < 1 || attempt > g.attempt {
		answer.Unwanted = true
		return p.send(answer)
	}
	// What comes late of an earlier attempt is numbered by itself, and does not end the log of the one under way.
	stored, err := p.begin(ctx, id, fmt.Sprintf("%s/%d", p.node, attempt), m.GetLines(), m.GetEof() && attempt == g.attempt)
	if err != nil {
		return err
	}
	select {
	case p.waiting <- chunk{id, stored}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// beginner is what Logs may be besides: it stores lines on this server at once, and stored waits for the others.
type beginner interface {
	Begin(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (stored func(context.Context) (uint64, error), err error)
}

func (s *Service) begin(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (func(context.Context) (uint64, error), error) {
	if b, ok := s.history.(beginner); ok {
		return b.Begin(ctx, id, source, lines, eof)
	}
	acked, err := s.history.Append(ctx, id, source, lines, eof)
	return func(context.Context) (uint64, error) { return acked, nil }, err
}

// acknowledge answers chunks in order, each once enough servers have it. Without a majority it waits: the agent keeps
// its lines meanwhile.
func (p *pushing) acknowledge(ctx context.Context) error {
	for w := range p.waiting {
		acked, err := w.stored(ctx)
		if err != nil {
			return fmt.Errorf("store log lines on other servers: %w", err)
		}
		if err := p.send(&agentv1.PushLogsResponse{LogId: w.log, AckedSeq: acked}); err != nil {
			return err
		}
	}
	return nil
}

func (p *pushing) send(m *agentv1.PushLogsResponse) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	if err := p.stream.Send(m); err != nil {
		return fmt.Errorf("acknowledge log lines: %w", err)
	}
	return nil
}

// mayLog returns the right of the node to log for the task of m. It is looked up again now and then, and at once for an
// attempt that is newer than the last look.
func (s *Service) mayLog(ctx context.Context, node gestor.NodeID, grants map[string]grant, m *agentv1.PushLogsRequest) (grant, error) {
	id := m.GetLogId()
	if g, ok := grants[id]; ok && time.Now().Before(g.until) && int(m.GetAttempt()) <= g.attempt {
		return g, nil
	}
	g, err := s.entitled(ctx, node, m)
	if err == nil && int(m.GetAttempt()) > g.attempt || err == nil && g.attempt == 0 {
		// This server may not know yet what another has given out, and an agent throws away what is not wanted.
		if err = s.level(ctx); err == nil {
			g, err = s.entitled(ctx, node, m)
		}
	}
	if err != nil {
		return grant{}, err
	}
	if len(grants) > 1000 {
		clear(grants)
	}
	grants[id] = g
	return g, nil
}

// entitled looks the right up in the state as this server knows it.
func (s *Service) entitled(ctx context.Context, node gestor.NodeID, m *agentv1.PushLogsRequest) (grant, error) {
	g := grant{until: time.Now().Add(grantTime)}
	t, err := s.engine.View(gestor.SystemScope()).Task(ctx, gestor.TaskID(m.GetLogId()))
	switch {
	case errors.Is(err, fault.KindNotFound):
		return g, nil
	case err == nil && t.NodeID == node && t.Fence > 0:
		g.attempt = t.Attempt
	}
	return g, err
}

// level waits, for a few seconds, until this server knows everything that is committed.
func (s *Service) level(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, s.times.CatchUp)
	defer cancel()
	err := s.engine.Barrier(limited)
	if err != nil && ctx.Err() == nil {
		return fault.Unavailable("this server does not know whether it is up to date").WithRetryAfter(time.Second).WithCause(err)
	}
	return err
}
