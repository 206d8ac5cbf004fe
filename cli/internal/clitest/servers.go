package clitest

import (
	"context"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type servers struct{ *Server }

// ListServers answers with the scripted states one after the other, the last for ever; without any, with the members.
func (h servers) ListServers(context.Context, *gestorv1.ListServersRequest) (*gestorv1.ListServersResponse, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	res := &gestorv1.ListServersResponse{Tolerates: h.state.Tolerates, Notice: h.state.Notice}
	if n := len(h.state.Servers); n > 0 {
		res.Servers = h.state.Servers[0]
		if n > 1 {
			h.state.Servers = h.state.Servers[1:]
		}
		return res, nil
	}
	for _, m := range h.members {
		res.Servers = append(res.Servers, &gestorv1.Server{
			Id: "srv_" + m.name, Name: m.name, Addresses: []string{m.address()}, Role: gestorv1.ServerRole_SERVER_ROLE_VOTER, Reachable: true,
		})
	}
	return res, nil
}

func (h servers) server(ctx context.Context, name string) (*gestorv1.Server, error) {
	res, err := h.ListServers(ctx, nil)
	if err != nil {
		return nil, err
	}
	return find(res.GetServers(), "server", name, func(s *gestorv1.Server) bool { return s.GetName() == name || s.GetId() == name })
}

func (h servers) CreateServerToken(_ context.Context, r *gestorv1.CreateServerTokenRequest) (*gestorv1.CreateServerTokenResponse, error) {
	return &gestorv1.CreateServerTokenResponse{Token: "gsj1.pin.id.secret", Command: "gestor-server join gsj1.pin.id.secret --name " + r.GetName()}, nil
}

func (h servers) RemoveServer(ctx context.Context, r *gestorv1.RemoveServerRequest) (*gestorv1.RemoveServerResponse, error) {
	_, err := h.server(ctx, r.GetServer())
	return &gestorv1.RemoveServerResponse{}, err
}

func (h servers) TransferLeader(_ context.Context, r *gestorv1.TransferLeaderRequest) (*gestorv1.TransferLeaderResponse, error) {
	leader := r.GetServer()
	if leader == "" {
		leader = "ctl2"
	}
	return &gestorv1.TransferLeaderResponse{Leader: leader, Took: durationpb.New(42_000_000)}, nil
}

func (h servers) CheckServers(context.Context, *gestorv1.CheckServersRequest) (*gestorv1.CheckServersResponse, error) {
	return h.state.Check, nil
}

func (h servers) Backup(ctx context.Context, _ *gestorv1.BackupRequest, out *connect.ServerStream[gestorv1.BackupResponse]) error {
	for i, piece := range h.state.Backup {
		out.ResponseHeader().Set("Gestor-Revision", "77")
		if err := out.Send(&gestorv1.BackupResponse{Data: []byte(piece)}); err != nil {
			return err
		}
		if h.cut(ctx, "Backup", i+1) {
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}
