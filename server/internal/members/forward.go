package members

import (
	"context"
	"errors"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

// Forwarder takes commands and read indexes to the leader over the peer port.
func Forwarder(p *peer.Port) engine.Forwarder { return forwarder{p} }

type forwarder struct{ port *peer.Port }

func clientOf(p *peer.Port, id string) (peerv1connect.ReplicationServiceClient, error) {
	c, err := p.Client(id)
	if err != nil {
		return nil, err
	}
	return peerv1connect.NewReplicationServiceClient(c.HTTP, c.URL, c.Options...), nil
}

// Propose implements engine.Forwarder.
func (f forwarder) Propose(ctx context.Context, leader string, data []byte) (command.Receipt, error) {
	c, err := clientOf(f.port, leader)
	if err != nil {
		return command.Receipt{}, unreached(err)
	}
	answer, err := c.Propose(ctx, &peerv1.ProposeRequest{Command: data})
	if err != nil {
		return command.Receipt{}, outcome(err)
	}
	return command.Receipt{Revision: answer.GetRevision(), Object: answer.GetObject()}, nil
}

// ReadIndex implements engine.Forwarder.
func (f forwarder) ReadIndex(ctx context.Context, leader string) (uint64, error) {
	c, err := clientOf(f.port, leader)
	if err != nil {
		return 0, unreached(err)
	}
	answer, err := c.ReadIndex(ctx, &peerv1.ReadIndexRequest{})
	if err != nil {
		return 0, outcome(err)
	}
	return answer.GetRevision(), nil
}

// outcome gives an error of a call cluster.ErrNotLeader as its cause if nothing was done: the other server said so, or
// nothing has left this one.
func outcome(err error) error {
	if errors.Is(err, peer.ErrNotConnected) {
		return unreached(err)
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || !f.NothingDone {
		return err
	}
	said := *f
	return said.WithCause(errors.Join(cluster.ErrNotLeader, err))
}

// unreached says that the leader could not be reached, so that nothing was done.
func unreached(err error) error {
	return fault.Unavailable("the server that leads cannot be reached").WithFix("try again in a moment").
		WithCause(errors.Join(cluster.ErrNotLeader, err)).WithNothingDone()
}
