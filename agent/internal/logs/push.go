package logs

import (
	"context"
	"errors"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const window = 1 << 20 // bytes sent and not acknowledged

// Stream is a PushLogs stream.
type Stream interface {
	Send(m *agentv1.PushLogsRequest) error
	Receive() (*agentv1.PushLogsResponse, error)
	CloseRequest() error
}

// Push sends what is spooled, and goes on with what comes, until ctx or the stream ends. It starts with everything
// not acknowledged. One Push runs at a time.
func (s *Store) Push(ctx context.Context, open func(context.Context) (Stream, error)) error {
	s.rewind()
	if err := s.waitForWork(ctx); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	stream, err := open(ctx)
	if err != nil {
		return err
	}
	// HTTP/2 looks at the context only between pieces of the request's body, so the body has to end, too.
	stop := context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	defer stop()
	p := &pusher{store: s, stream: stream, room: make(chan struct{}, 1)}
	group.Go(func() error { return p.receive() })
	group.Go(func() error { return p.send(ctx) })
	return group.Wait()
}

func (s *Store) rewind() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.spools {
		p.rewind()
	}
	s.signal()
}

// waitForWork avoids a stream nobody needs. It does not take the work.
func (s *Store) waitForWork(ctx context.Context) error {
	for {
		s.mu.Lock()
		idle := len(s.spools) == 0 && len(s.tails) == 0
		s.mu.Unlock()
		if !idle {
			s.signal()
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-s.changed:
		}
	}
}

type pusher struct {
	store  *Store
	stream Stream
	room   chan struct{} // signalled when the window may have opened

	// Guarded by store.mu.
	flying []inFlight
	bytes  int
	turn   string // the log that sent last
}

type inFlight struct {
	id    string
	last  uint64
	bytes int
	bare  bool // an end without lines
}

func (p *pusher) send(ctx context.Context) error {
	for {
		m := p.next()
		if m == nil {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-p.store.changed:
			case <-p.room:
			}
			continue
		}
		if err := p.stream.Send(m); err != nil {
			return err
		}
	}
}

// next picks a message from the logs in turn, nil if there is none or the window is full.
func (p *pusher) next() *agentv1.PushLogsRequest {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.bytes >= window {
		return nil
	}
	for _, id := range p.order() {
		m := s.take(id)
		if m == nil {
			continue
		}
		f := inFlight{id: id, last: lastSeq(m), bytes: proto.Size(m), bare: len(m.GetLines()) == 0}
		p.flying, p.bytes, p.turn = append(p.flying, f), p.bytes+f.bytes, id
		return m
	}
	return nil
}

// order lists all logs, beginning after the one that had its turn.
func (p *pusher) order() []string {
	ids := make([]string, 0, len(p.store.spools)+len(p.store.tails))
	for id := range p.store.spools {
		ids = append(ids, id)
	}
	for id := range p.store.tails {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	i, found := slices.BinarySearch(ids, p.turn)
	if found {
		i++
	}
	return append(ids[i:len(ids):len(ids)], ids[:i]...)
}

func (s *Store) take(id string) *agentv1.PushLogsRequest {
	if t, ok := s.tails[id]; ok {
		return t.next()
	}
	return s.spools[id].next()
}

func (p *pusher) receive() error {
	for {
		m, err := p.stream.Receive()
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF // the server never ends it first
		}
		if err != nil {
			return err
		}
		p.acknowledge(m)
		select {
		case p.room <- struct{}{}:
		default:
		}
	}
}

func (p *pusher) acknowledge(m *agentv1.PushLogsResponse) {
	s := p.store
	s.mu.Lock()
	defer s.mu.Unlock()
	endStored := p.land(m)
	if t, ok := s.tails[m.GetLogId()]; ok {
		s.acknowledgeTail(t, m, endStored)
		return
	}
	sp, ok := s.spools[m.GetLogId()]
	if !ok {
		return
	}
	if m.GetUnwanted() {
		s.forget(sp)
		return
	}
	sp.acked = max(sp.acked, min(m.GetAckedSeq(), sp.last))
	for _, g := range slices.Clone(sp.segments) {
		if g.end() <= sp.acked && g != sp.tail() {
			s.remove(g)
		}
	}
	if sp.whole && sp.eofSent && endStored && sp.acked >= sp.last {
		s.forget(sp)
	}
}

// acknowledgeTail forgets a tail whose end has arrived; s.mu is held.
func (s *Store) acknowledgeTail(t *Tail, m *agentv1.PushLogsResponse, nothingInFlight bool) {
	if m.GetUnwanted() {
		delete(s.tails, t.id)
		t.stop(nil)
		return
	}
	if finished, err := t.finished(); finished && nothingInFlight {
		delete(s.tails, t.id)
		t.over(err)
	}
}

// land takes what m acknowledges out of flight, and tells whether nothing of the log is in flight any more. Every
// message is answered, so an end without lines, which has no number of its own, lands with an answer of its own.
func (p *pusher) land(m *agentv1.PushLogsResponse) bool {
	landed, left := false, false
	p.flying = slices.DeleteFunc(p.flying, func(f inFlight) bool {
		if f.id != m.GetLogId() {
			return false
		}
		stored := m.GetUnwanted() || !f.bare && f.last <= m.GetAckedSeq() || f.bare && !landed
		if !stored {
			left = true
			return false
		}
		landed = true
		p.bytes -= f.bytes
		return true
	})
	return !left
}
