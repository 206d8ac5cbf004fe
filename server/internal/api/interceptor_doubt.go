package api

import (
	"context"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// doubts gives a change that was refused a second look where this server may have been behind. A change that goes well
// needs no read index, because the state machine decides on it; a refusal may only mean that what it names, made a moment ago
// on another server, has not arrived here. What was refused did nothing, so it may be done again.
type doubts struct{ gate *gate }

var _ connect.Interceptor = (*doubts)(nil)

// WrapUnary implements connect.Interceptor.
func (d *doubts) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		seen := d.gate.deps.Revision()
		res, err := next(ctx, req)
		if err == nil || !mayBeBehind(err) || !d.mayLookAgain(ctx, req) {
			return res, err
		}
		if err := d.gate.barrier(ctx); err != nil {
			return nil, err
		}
		if d.gate.deps.Revision() == seen {
			return res, err
		}
		return next(ctx, req)
	}
}

// mayBeBehind reports whether a refusal may come from what a server does not know yet.
func mayBeBehind(err error) bool {
	switch fault.KindOf(err) {
	case fault.KindNotFound, fault.KindConflict, fault.KindExists, fault.KindInvalid:
		return true
	default:
		return false
	}
}

// mayLookAgain reports whether the call is a person's change, on one of several servers.
func (d *doubts) mayLookAgain(ctx context.Context, req connect.AnyRequest) bool {
	caller, ok := auth.CallerFrom(ctx)
	want, err := wanted(req.Header())
	return ok && caller.IsMember() && err == nil && !want.local && d.gate.deps.Barrier != nil &&
		req.Spec().IdempotencyLevel != connect.IdempotencyNoSideEffects
}

// WrapStreamingClient implements connect.Interceptor.
func (d *doubts) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (d *doubts) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
