package nodes

import (
	"context"

	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

// Peers are the other control servers.
type Peers interface {
	// Others are the ids of the other members.
	Others() []string
	// Presence reaches one of them.
	Presence(server string) (peerv1connect.PresenceServiceClient, error)
	// Caller is the server that makes the call of ctx.
	Caller(ctx context.Context) string
}

// OverPort are the servers that a peer port reaches.
func OverPort(p *peer.Port) Peers { return overPort{p} }

type overPort struct{ port *peer.Port }

// Others implements Peers.
func (o overPort) Others() []string {
	var ids []string
	for _, m := range o.port.Others() {
		ids = append(ids, m.ID)
	}
	return ids
}

// Presence implements Peers.
func (o overPort) Presence(server string) (peerv1connect.PresenceServiceClient, error) {
	c, err := o.port.Client(server)
	if err != nil {
		return nil, err
	}
	return peerv1connect.NewPresenceServiceClient(c.HTTP, c.URL, c.Options...), nil
}

// Caller implements Peers.
func (overPort) Caller(ctx context.Context) string { return peer.Caller(ctx) }
