package server

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/backup"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/peer"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// wirePeers puts together what servers are to each other.
func (s *Server) wirePeers(p *parts) {
	p.members = members.New(members.Options{
		Engine: s.engine, Port: s.port, Self: s.self, Agents: p.nodes.Agents, StartedAt: time.Now(), DiskFree: p.disk.Free, Notice: func() string { return p.notice(s.clock) }, Clock: s.clock, Log: s.log.With("component", "members"),
	})
	s.engine.Forward(members.Forwarder(s.port))
	s.engine.OnTerm("members", p.members.RunTerm)
	p.run = append(p.run,
		part{"announce", p.members.RunAnnounce},
		part{"membership", p.members.RunRemoved},
		part{"clock", p.members.RunClock},
		part{"peers", func(ctx context.Context) error { return s.port.Run(ctx, s.peerMounts(p)...) }},
	)
}

// serverService is what people do with control servers.
func (s *Server) serverService(p *parts) *api.ServerService {
	return api.NewServerService(api.ServerDeps{
		Engine: s.engine, Replication: s.engine, Peers: p.members, Keys: p.keys, Pin: s.id.serverRoot.Pin(), PublicURL: s.publicURLs()[0],
		Backup: func(ctx context.Context, w io.Writer) error { return backup.To(ctx, s.engine, w) }, Derive: s.id.serverRoot.Derive, Now: s.clock.Now,
	})
}

// self is who this server is.
func (s *Server) self() gestor.Server {
	return gestor.Server{
		ID: gestor.ServerID(s.id.server), Name: s.id.name, PeerAddress: s.port.Address(), Addresses: s.addresses(),
		Version: s.options.Version, Level: command.Level,
	}
}

// agentAddresses are where people and agents reach the servers, host:port, this one's own first.
func (s *Server) agentAddresses(ctx context.Context) ([]string, error) {
	servers, err := s.engine.View(gestor.SystemScope()).Servers(ctx)
	if err != nil {
		return nil, err
	}
	out := s.addresses()
	for _, other := range servers {
		if string(other.ID) != s.id.server {
			out = append(out, other.Addresses...)
		}
	}
	return out, nil
}

// directory names all servers for the programs of people, as in rpc.HeaderServers. It is read anew when they change.
func (s *Server) directory() func(ctx context.Context) string {
	var mu sync.Mutex
	var at uint64
	var text string
	return func(ctx context.Context) string {
		mu.Lock()
		defer mu.Unlock()
		now := s.engine.Version(state.Servers)
		if text != "" && at == now {
			return text
		}
		servers, err := s.engine.View(gestor.SystemScope()).Servers(ctx)
		if err != nil {
			return text
		}
		var all []string
		for _, server := range servers {
			for _, address := range server.Addresses {
				all = append(all, server.Name+"="+address)
			}
		}
		at, text = now, strings.Join(all, ", ")
		return text
	}
}

// peerMounts are the services on the peer port.
func (s *Server) peerMounts(p *parts) []peer.Mount {
	return []peer.Mount{
		servePeers(peerv1connect.NewReplicationServiceHandler)(p.members),
		servePeers(peerv1connect.NewPresenceServiceHandler)(p.nodes.Presence()),
		servePeers(peerv1connect.NewStorageServiceHandler)(p.mirror.Service()),
		servePeers(peerv1connect.NewKeyServiceHandler)(p.keys),
	}
}

func servePeers[H any](constructor func(H, ...connect.HandlerOption) (string, http.Handler)) func(H) peer.Mount {
	return func(service H) peer.Mount {
		return func(o ...connect.HandlerOption) (string, http.Handler) { return constructor(service, o...) }
	}
}
