package members

import (
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

// Propose replicates a command for another server.
func (s *Service) Propose(ctx context.Context, req *peerv1.ProposeRequest) (*peerv1.ProposeResponse, error) {
	receipt, err := s.o.Engine.ProposeHere(ctx, req.GetCommand())
	if err != nil {
		return nil, answer(err)
	}
	s.o.Engine.Nudge(receipt.Revision) // the caller's own server waits for it
	return &peerv1.ProposeResponse{Revision: receipt.Revision, Object: receipt.Object}, nil
}

// ReadIndex returns a revision that holds everything committed before the call.
func (s *Service) ReadIndex(ctx context.Context, _ *peerv1.ReadIndexRequest) (*peerv1.ReadIndexResponse, error) {
	revision, err := s.o.Engine.ReadIndexHere(ctx)
	if err != nil {
		return nil, answer(err)
	}
	s.o.Engine.Nudge(revision)
	return &peerv1.ReadIndexResponse{Revision: revision}, nil
}

// GetStatus tells how this server is.
func (s *Service) GetStatus(context.Context, *peerv1.GetStatusRequest) (*peerv1.GetStatusResponse, error) {
	self, e := s.o.Self(), s.o.Engine
	return &peerv1.GetStatusResponse{
		Version:       self.Version,
		Level:         self.Level,
		Revision:      e.Revision(),
		LastIndex:     e.LastIndex(),
		StartedAt:     timestamppb.New(s.o.StartedAt),
		Agents:        int32(s.o.Agents()),
		DiskFreeBytes: s.o.DiskFree(),
		Leader:        e.Leader(),
		Notice:        s.o.Notice(),
		Clock:         timestamppb.New(s.o.Clock.Own()),
		ClockAhead:    durationpb.New(s.o.Clock.Ahead()),
	}, nil
}

// GetMark returns the hash of this server's state at a mark.
func (s *Service) GetMark(ctx context.Context, req *peerv1.GetMarkRequest) (*peerv1.GetMarkResponse, error) {
	hash, tables, err := s.o.Engine.Mark(ctx, req.GetRevision())
	if err != nil {
		return nil, err
	}
	return &peerv1.GetMarkResponse{Hash: hash, Tables: tables}, nil
}

// Announce notes what another server says of itself, and writes what is new.
func (s *Service) Announce(ctx context.Context, req *peerv1.AnnounceRequest) (*peerv1.AnnounceResponse, error) {
	info := req.GetServer()
	if info.GetId() != peer.Caller(ctx) {
		return nil, fault.Denied("server %s announces itself as %s", peer.Caller(ctx), info.GetId())
	}
	return &peerv1.AnnounceResponse{}, s.note(ctx, gestor.Server{
		ID: gestor.ServerID(info.GetId()), Name: info.GetName(), PeerAddress: info.GetPeerAddress(), Addresses: info.GetAddresses(),
		Version: info.GetVersion(), Level: info.GetLevel(),
	})
}

// note writes what a server says of itself, if it is new. A server that is not known was removed.
func (s *Service) note(ctx context.Context, said gestor.Server) error {
	if err := said.Validate("server."); err != nil {
		return err
	}
	revision, err := s.o.Engine.ReadIndexHere(ctx) // a leader that has not caught up with itself might not know the server yet
	if err != nil {
		return answer(err)
	}
	if err := s.o.Engine.Wait(ctx, revision); err != nil {
		return err
	}
	known, err := s.o.Engine.View(gestor.SystemScope()).Server(ctx, said.ID)
	switch {
	case errors.Is(err, fault.KindNotFound): // the state machine says whether it is the first or was removed
	case err != nil:
		return err
	case said.Same(known):
		return nil
	}
	return s.put(ctx, said, known)
}

// put writes what a server says of itself. A name that another server has keeps only the name from being written.
func (s *Service) put(ctx context.Context, said, known gestor.Server) error {
	err := s.propose(ctx, command.PutServer{Server: said})
	if !errors.Is(err, fault.KindExists) || said.Name == known.Name {
		return err
	}
	renamed := err
	said.Name = known.Name
	if said.Same(known) {
		return renamed
	}
	return errors.Join(renamed, s.propose(ctx, command.PutServer{Server: said}))
}

// propose proposes on this server, which leads, in the name of the loop.
func (s *Service) propose(ctx context.Context, op command.Op) error {
	data, err := command.Marshal(command.Command{At: s.o.Clock.Now(), Actor: gestor.SystemActor("members"), Op: op})
	if err != nil {
		return err
	}
	_, err = s.o.Engine.ProposeHere(ctx, data)
	return answer(err)
}

// RemoveServer takes a server out for another server's caller.
func (s *Service) RemoveServer(ctx context.Context, req *peerv1.RemoveServerRequest) (*peerv1.RemoveServerResponse, error) {
	revision, err := s.removeHere(ctx, Removal{ID: gestor.ServerID(req.GetId()), Command: req.GetCommand(), Force: req.GetForce()})
	if err != nil {
		return nil, err
	}
	return &peerv1.RemoveServerResponse{Revision: revision}, nil
}

// TransferLeader hands leadership over for another server's caller.
func (s *Service) TransferLeader(ctx context.Context, req *peerv1.TransferLeaderRequest) (*peerv1.TransferLeaderResponse, error) {
	leader, took, err := s.transferHere(ctx, gestor.ServerID(req.GetId()))
	if err != nil {
		return nil, err
	}
	return &peerv1.TransferLeaderResponse{Leader: string(leader), Took: durationpb.New(took)}, nil
}
