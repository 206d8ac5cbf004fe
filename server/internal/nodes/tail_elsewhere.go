package nodes

import (
	"context"
	"time"

	"connectrpc.com/connect"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// findTimeout is how long the other servers may take to say whether a node is theirs.
const findTimeout = 3 * time.Second

type tailStream = connect.ServerStreamForClient[peerv1.TailAppResponse]

// openElsewhere asks all other servers for a tail; the one with the node's session sends it.
func (s *Service) openElsewhere(ctx context.Context, r *peerv1.TailAppRequest) (<-chan []*gestorv1.LogLine, error) {
	others := s.peers.Others()
	found := make(chan *foreignTail, len(others))
	for _, id := range others {
		go func() { found <- s.askFor(ctx, id, r) }()
	}
	timer := time.NewTimer(findTimeout)
	defer timer.Stop()
	for waiting := len(others); waiting > 0; waiting-- {
		select {
		case f := <-found:
			if f == nil {
				continue
			}
			go discard(found, waiting-1)
			t := &tail{lines: make(chan []*gestorv1.LogLine, tailBuffer)}
			go s.relay(f, t) // ends with the stream, which ends with ctx
			return t.lines, nil
		case <-timer.C:
			go discard(found, waiting)
			return nil, notConnected()
		case <-ctx.Done():
			go discard(found, waiting)
			return nil, context.Cause(ctx)
		}
	}
	return nil, notConnected()
}

// foreignTail is a tail of another server's node.
type foreignTail struct {
	stream *tailStream
	cancel context.CancelFunc
}

// close gives the stream back.
func (f *foreignTail) close() {
	f.cancel()
	_ = f.stream.Close()
}

// discard closes what was found beside.
func discard(found <-chan *foreignTail, n int) {
	for range n {
		if f := <-found; f != nil {
			f.close()
		}
	}
}

// askFor asks one server; nil if the node is not its own, or it does not answer in time.
func (s *Service) askFor(ctx context.Context, server string, r *peerv1.TailAppRequest) *foreignTail {
	client, err := s.peers.Presence(server)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(findTimeout, cancel)
	stream, err := client.TailApp(ctx, r)
	if err != nil {
		cancel()
		return nil
	}
	f := &foreignTail{stream, cancel}
	if !stream.Receive() || !timer.Stop() {
		f.close()
		return nil
	}
	return f
}

// relay passes a tail of another server on to its viewer.
func (s *Service) relay(f *foreignTail, t *tail) {
	defer s.drop(t)
	defer f.close()
	for f.stream.Receive() {
		t.offer(f.stream.Msg().GetLines())
	}
	if err := f.stream.Err(); err != nil {
		s.log.Debug("the tail of another server's node broke", "err", err)
		t.offer([]*gestorv1.LogLine{notice("the connection to the node's server broke")})
	}
}
