package nodes

import (
	"context"
	"crypto/rand"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// What a viewer may be behind before lines are skipped for it: 64 chunks of 16 KiB, 1 MiB in all.
const (
	tailBuffer = 64
	tailChunk  = 16 << 10 // bytes; a line that is longer is cut
	maxPhase   = 100      // bytes
	lineCost   = 100      // bytes of memory a line takes beside its text
)

// tail is an app's output on its way from one node to one viewer.
type tail struct {
	id    string
	node  gestor.NodeID
	lines chan []*gestorv1.LogLine

	mu      sync.Mutex
	closed  bool
	skipped int
}

// OpenTail asks a node for an app's output: the last so many lines and, with follow, those to come. The channel is
// closed at the end, when ctx ends, or when the node's session does. A viewer that does not read misses lines, and a
// line says so; it never slows the agent.
//
// Where the node's session is at another server, that one is asked.
func (s *Service) OpenTail(ctx context.Context, node gestor.NodeID, slug string, last int, follow bool) (<-chan []*gestorv1.LogLine, error) {
	if s.Connected(node) || s.peers == nil {
		return s.openHere(ctx, node, slug, last, follow)
	}
	return s.openElsewhere(ctx, &peerv1.TailAppRequest{NodeId: string(node), Slug: slug, Last: int32(last), Follow: follow})
}

// openHere asks a node that holds a session here.
func (s *Service) openHere(ctx context.Context, node gestor.NodeID, slug string, last int, follow bool) (<-chan []*gestorv1.LogLine, error) {
	t := &tail{id: tailPrefix + strings.ToLower(rand.Text()), node: node, lines: make(chan []*gestorv1.LogLine, tailBuffer)}
	s.mu.Lock()
	sess := s.sessions[node]
	if sess != nil {
		put(&s.tails, t.id, t)
	}
	s.mu.Unlock()
	if sess == nil {
		return nil, notConnected()
	}
	sess.offer(&agentv1.SessionResponse{Message: &agentv1.SessionResponse_OpenTail{OpenTail: &agentv1.OpenTail{
		LogId: t.id, Slug: slug, Last: int32(last), Follow: follow,
	}}})
	context.AfterFunc(ctx, func() {
		if s.drop(t) {
			sess.offer(closeTail(t.id))
		}
	})
	return t.lines, nil
}

func notConnected() error {
	return fault.Unavailable("the node is not connected, its logs cannot be read now")
}

func closeTail(id string) *agentv1.SessionResponse {
	return &agentv1.SessionResponse{Message: &agentv1.SessionResponse_CloseTail{CloseTail: &agentv1.CloseTail{LogId: id}}}
}

// passOn hands lines of a tail to its viewer. They are acknowledged whether or not it reads them.
func (s *Service) passOn(node gestor.NodeID, m *agentv1.PushLogsRequest) (acked uint64, unwanted bool) {
	s.mu.Lock()
	t := s.tails[m.GetLogId()]
	s.mu.Unlock()
	if t == nil || t.node != node {
		return 0, true
	}
	if n := len(m.GetLines()); n > 0 {
		acked = m.GetLines()[n-1].GetSeq()
		t.offer(m.GetLines())
	}
	if m.GetEof() {
		s.drop(t)
	}
	return acked, false
}

func (t *tail) offer(lines []*gestorv1.LogLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for chunk := range chunks(lines) {
		t.queue(chunk)
	}
}

// queue hands a chunk on, or counts it as skipped. t.mu is held.
func (t *tail) queue(chunk []*gestorv1.LogLine) {
	n := len(chunk)
	if t.skipped > 0 {
		text := fmt.Sprintf("%d lines were skipped, the reader is too slow", t.skipped)
		chunk = append([]*gestorv1.LogLine{notice(text)}, chunk...)
	}
	select {
	case t.lines <- chunk:
		t.skipped = 0
	default:
		t.skipped += n
	}
}

// chunks splits lines into pieces of at most tailChunk bytes.
func chunks(lines []*gestorv1.LogLine) iter.Seq[[]*gestorv1.LogLine] {
	return func(yield func([]*gestorv1.LogLine) bool) {
		begin, size := 0, 0
		for i, line := range lines {
			line.Text, line.Phase = clip(line.GetText(), tailChunk-maxPhase-lineCost), clip(line.GetPhase(), maxPhase)
			cost := len(line.GetText()) + len(line.GetPhase()) + lineCost
			if size+cost > tailChunk {
				if !yield(lines[begin:i:i]) {
					return
				}
				begin, size = i, 0
			}
			size += cost
		}
		if begin < len(lines) {
			yield(lines[begin:])
		}
	}
}

func notice(text string) *gestorv1.LogLine {
	return &gestorv1.LogLine{Stream: gestorv1.LogStream_LOG_STREAM_GESTOR, Text: text}
}

// drop ends a tail; false if it had ended already.
func (s *Service) drop(t *tail) bool {
	s.mu.Lock()
	delete(s.tails, t.id)
	s.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.closed = true
	close(t.lines)
	return true
}

// tailEnded is the agent's word that it cannot go on.
func (s *Service) tailEnded(node gestor.NodeID, m *agentv1.TailEnded) {
	s.mu.Lock()
	t := s.tails[m.GetLogId()]
	s.mu.Unlock()
	if t == nil || t.node != node {
		return
	}
	if why := m.GetError(); why != "" {
		t.offer([]*gestorv1.LogLine{notice(clip(why, maxError))})
	}
	s.drop(t)
}

// closeTails ends a node's tails.
func (s *Service) closeTails(node gestor.NodeID, why string) {
	s.mu.Lock()
	var of []*tail
	for _, t := range s.tails {
		if t.node == node {
			of = append(of, t)
		}
	}
	s.mu.Unlock()
	for _, t := range of {
		t.offer([]*gestorv1.LogLine{notice(why)})
		s.drop(t)
	}
}
