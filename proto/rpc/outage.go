package rpc

import (
	"errors"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Outage tells a server that is away, stopping or without a leader, where another server or a moment's patience may
// help, from one that says no. A message cut off in the middle did not come from a server's mouth and counts as the
// connection's fault.
func Outage(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindUnavailable, fault.KindTimeout, fault.KindCancelled:
		return true
	case fault.KindInvalid, fault.KindInternal:
		return err != nil && !saidByServer(err) && isLocal(err)
	default:
		return false
	}
}

// saidByServer reports whether err came over the wire. What this side says of a call keeps its own error as cause.
func saidByServer(err error) bool {
	_, ok := errors.AsType[*fault.Error](err)
	return ok && !isLocal(err)
}

func isLocal(err error) bool {
	ce, ok := errors.AsType[*connect.Error](err)
	return ok && !connect.IsWireError(ce)
}
