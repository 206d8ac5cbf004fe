package peer

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// ErrNotConnected is the cause of calls to a member that could not be connected to: nothing of them has left this server.
var ErrNotConnected = errors.New("no connection to the server")

// Refuses reports whether the member with that id takes this server for a stranger, as it does once this server was removed.
// An error means that it could not be asked.
func (p *Port) Refuses(ctx context.Context, id string) (bool, error) {
	for _, m := range p.known() {
		if m.ID != id {
			continue
		}
		conn, err := p.dial(ctx, m.Address, id, protocolHTTP)
		if err != nil {
			return false, err // an alert this early comes from anybody who is in between
		}
		defer func() { _ = conn.Close() }() // nothing was written
		// The other side looks at our certificate after this side is done, and has the first word then.
		_ = conn.SetReadDeadline(time.Now().Add(handshakeTimeout)) // a connection that is gone fails below
		_, err = conn.Read(make([]byte, 1))
		return refused(err), notRefused(err)
	}
	return false, fault.NotFound("server %s is no member of this cluster", id)
}

// refused reports whether the other side said that it does not accept this one, with an alert of TLS.
func refused(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

func notRefused(err error) error {
	if refused(err) {
		return nil
	}
	return err
}
