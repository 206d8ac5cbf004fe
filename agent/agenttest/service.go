package agenttest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
)

const heartbeat = 200 * time.Millisecond

type agentService struct{ s *Server }

var _ agentv1connect.AgentServiceHandler = agentService{}

// Session implements the control stream: the newest session ends the one before.
func (a agentService) Session(ctx context.Context, stream *connect.BidiStream[agentv1.SessionRequest, agentv1.SessionResponse]) error {
	s := a.s
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return fault.Invalid("message", "the first message must be a hello")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	live := &liveSession{send: make(chan *agentv1.SessionResponse, 64), cancel: cancel}
	s.mu.Lock()
	servers := s.servers
	s.mu.Unlock()
	live.send <- &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Hello{Hello: &agentv1.ServerHello{
		Servers: servers, Version: "test", ClusterId: clusterID, Heartbeat: durationpb.New(heartbeat), Lease: durationpb.New(30 * time.Second),
	}}}
	s.update(func() {
		if s.session != nil {
			s.session.cancel()
		}
		s.session = live
		s.hellos = append(s.hellos, first.GetHello())
		for _, again := range s.missing(first.GetHello()) {
			live.send <- &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Assign{Assign: again}}
		}
	})
	go a.listen(stream, live)
	for {
		select {
		case <-ctx.Done():
			return fault.Unavailable("the session was ended")
		case m := <-live.send:
			if err := stream.Send(m); err != nil {
				return err
			}
		}
	}
}

// missing lists what the agent was assigned and does not have; s.mu is held.
func (s *Server) missing(hello *agentv1.AgentHello) []*agentv1.Assignment {
	known := map[string]bool{}
	for _, h := range hello.GetTasks() {
		known[h.GetTaskId()] = true
	}
	var all []*agentv1.Assignment
	for id, assignment := range s.held {
		if !known[id] {
			all = append(all, assignment)
		}
	}
	return all
}

func (a agentService) listen(stream *connect.BidiStream[agentv1.SessionRequest, agentv1.SessionResponse], live *liveSession) {
	defer live.cancel()
	for {
		m, err := stream.Receive()
		if err != nil {
			return
		}
		a.s.update(func() { a.s.hear(m, live) })
	}
}

// hear notes what the agent said; s.mu is held.
func (s *Server) hear(m *agentv1.SessionRequest, live *liveSession) {
	switch m := m.GetMessage().(type) {
	case *agentv1.SessionRequest_Heartbeat:
		s.beats++
	case *agentv1.SessionRequest_Started:
		s.started[m.Started.GetTaskId()]++
	case *agentv1.SessionRequest_Progress:
		s.progress[m.Progress.GetTaskId()] = append(s.progress[m.Progress.GetTaskId()], m.Progress)
	case *agentv1.SessionRequest_TailEnded:
		s.tails[m.TailEnded.GetLogId()] = m.TailEnded
	case *agentv1.SessionRequest_Finished:
		id := m.Finished.GetTaskId()
		s.finished[id] = m.Finished
		s.reports[id]++
		if s.noAcks {
			return
		}
		delete(s.held, id)
		live.send <- &agentv1.SessionResponse{Message: &agentv1.SessionResponse_Acknowledged{
			Acknowledged: &agentv1.TaskAcknowledged{TaskId: id, Fence: m.Finished.GetFence()},
		}}
	}
}

// PushLogs stores lines and drops those it has.
func (a agentService) PushLogs(_ context.Context, stream *connect.BidiStream[agentv1.PushLogsRequest, agentv1.PushLogsResponse]) error {
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer := &agentv1.PushLogsResponse{LogId: m.GetLogId()}
		a.s.update(func() {
			l := a.s.log(m.GetLogId())
			for _, line := range m.GetLines() {
				if line.GetSeq() > l.acked && !l.unwanted {
					l.lines, l.acked = append(l.lines, line), line.GetSeq()
				}
			}
			l.eof = l.eof || m.GetEof()
			answer.AckedSeq, answer.Unwanted = l.acked, l.unwanted
		})
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// PutBlob stores a blob if it is what its digest says.
func (a agentService) PutBlob(_ context.Context, stream *connect.ClientStream[agentv1.PutBlobRequest]) (*agentv1.PutBlobResponse, error) {
	var digest string
	var b []byte
	for stream.Receive() {
		if digest == "" {
			digest = stream.Msg().GetDigest()
		}
		b = append(b, stream.Msg().GetData()...)
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(b)
	if hex.EncodeToString(sum[:]) != digest {
		return nil, fault.Invalid("digest", "the blob has another digest")
	}
	a.s.PutBlob(digest, b)
	return &agentv1.PutBlobResponse{}, nil
}

// GetBlob sends a blob in pieces.
func (a agentService) GetBlob(_ context.Context, r *agentv1.GetBlobRequest, stream *connect.ServerStream[agentv1.GetBlobResponse]) error {
	b := a.s.Blob(r.GetDigest())
	if b == nil {
		return fault.NotFound("there is no blob %s", r.GetDigest())
	}
	rest := b[min(r.GetOffset(), int64(len(b))):]
	for len(rest) > 0 {
		n := min(len(rest), 64<<10)
		if err := stream.Send(&agentv1.GetBlobResponse{Data: rest[:n]}); err != nil {
			return err
		}
		rest = rest[n:]
		broken := false
		a.s.update(func() { broken, a.s.breakGet = a.s.breakGet, false })
		if broken {
			return fault.Unavailable("the transfer broke off")
		}
	}
	return nil
}
