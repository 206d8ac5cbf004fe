package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// pieceBytes is the most that travels in one message.
const pieceBytes = 1 << 20

// PutBlob stores the artifact of a build that this node works on.
func (s *Service) PutBlob(ctx context.Context, stream *connect.ClientStream[agentv1.PutBlobRequest]) (*agentv1.PutBlobResponse, error) {
	node, _, err := s.node(ctx)
	if err != nil {
		return nil, err
	}
	if !stream.Receive() {
		return nil, errors.Join(fault.Invalid("digest", "nothing was sent"), stream.Err())
	}
	first := stream.Msg()
	t, err := s.holds(ctx, node, first.GetTaskId(), first.GetFence())
	if err != nil {
		return nil, err
	}
	if t.Kind != gestor.TaskBuild {
		return nil, fault.Denied("a %s task stores no artifact", t.Kind)
	}
	done, err := s.uploads.begin(t, first.GetDigest())
	if err != nil {
		return nil, err
	}
	pieces := &pieces{stream: stream, rest: first.GetData()}
	err = s.blobs.Put(ctx, first.GetDigest(), first.GetSize(), pieces)
	done(err == nil)
	if errors.Is(err, fault.KindExhausted) {
		s.sendOn(node)
	}
	if err != nil {
		return nil, err
	}
	return &agentv1.PutBlobResponse{}, nil
}

// sendOn sends a node to the next server, which may have the room that this one lacks.
func (s *Service) sendOn(node gestor.NodeID) {
	s.mu.Lock()
	sess := s.sessions[node]
	s.mu.Unlock()
	if sess != nil {
		sess.end(goodbye{"this server has no room for artifacts", leastWait})
	}
}

// holds returns the task if the node holds it with that fence, once this server has applied what the fence is of.
func (s *Service) holds(ctx context.Context, node gestor.NodeID, id string, fence uint64) (gestor.Task, error) {
	if err := s.reach(ctx, fence); err != nil {
		return gestor.Task{}, err
	}
	t, err := s.engine.View(gestor.SystemScope()).Task(ctx, gestor.TaskID(id))
	if err != nil && !errors.Is(err, fault.KindNotFound) {
		return gestor.Task{}, err
	}
	if err != nil || t.NodeID != node || t.Fence != fence || !t.State.Held() {
		return gestor.Task{}, fault.Denied("task %q with fence %d is not held by this node", id, fence)
	}
	return t, nil
}

// pieces reads the data of a stream.
type pieces struct {
	stream *connect.ClientStream[agentv1.PutBlobRequest]
	rest   []byte
}

func (p *pieces) Read(buf []byte) (int, error) {
	for len(p.rest) == 0 {
		if !p.stream.Receive() {
			if err := p.stream.Err(); err != nil {
				return 0, fmt.Errorf("receive artifact: %w", err)
			}
			return 0, io.EOF
		}
		p.rest = p.stream.Msg().GetData()
	}
	if len(p.rest) > pieceBytes {
		return 0, fault.Invalid("data", "a piece has at most %d bytes", pieceBytes)
	}
	n := copy(buf, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}

// GetBlob sends the artifact that a task of this node is about.
func (s *Service) GetBlob(ctx context.Context, req *agentv1.GetBlobRequest, stream *connect.ServerStream[agentv1.GetBlobResponse]) error {
	node, _, err := s.node(ctx)
	if err != nil {
		return err
	}
	t, err := s.holds(ctx, node, req.GetTaskId(), req.GetFence())
	if err != nil {
		return err
	}
	if !names(t, req.GetDigest()) {
		return fault.Denied("task %s is not about artifact %q", t.ID, req.GetDigest())
	}
	r, err := s.blobs.Get(req.GetDigest(), req.GetOffset())
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // read only
	return sendAll(stream, r)
}

func sendAll(stream *connect.ServerStream[agentv1.GetBlobResponse], r io.Reader) error {
	buf := make([]byte, pieceBytes)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := stream.Send(&agentv1.GetBlobResponse{Data: buf[:n]}); err != nil {
				return fmt.Errorf("send artifact: %w", err)
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read artifact: %w", err)
		}
	}
}

// names reports whether a task's spec names the artifact.
func names(t gestor.Task, digest string) bool {
	var spec agentv1.TaskSpec
	if err := proto.Unmarshal(t.Spec, &spec); err != nil || digest == "" {
		return false
	}
	return spec.GetPrepare().GetRelease().GetArtifactDigest() == digest ||
		spec.GetSwitch().GetRelease().GetArtifactDigest() == digest
}
