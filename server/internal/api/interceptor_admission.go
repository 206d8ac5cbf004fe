package api

import (
	"context"
	"errors"
	"os"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// admission bounds what runs at once: calls by places, streams by caller, and the patience with who does not read.
type admission struct{ deps Deps }

func (a *admission) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		caller, _ := auth.CallerFrom(ctx)
		places, party := a.deps.Limits.place(caller, requestOf(ctx).address, req.Spec())
		leave, ok := places.Enter(ctx, party)
		if !ok {
			return nil, a.busy(ctx)
		}
		defer leave()
		return next(ctx, req)
	}
}

func (a *admission) busy(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err() // the caller is gone
	}
	a.deps.Refused(refusedBusy)
	return fault.Exhausted("the server has as many calls as it takes at once").
		WithFix("try again in a moment").WithRetryAfter(time.Second).WithNothingDone()
}

func (a *admission) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		caller, _ := auth.CallerFrom(ctx)
		counts, party := a.deps.Limits.streamsOf(caller, requestOf(ctx).address)
		leave, ok := counts.Enter(party)
		if !ok {
			a.deps.Refused(refusedStreams)
			return fault.Exhausted("too many streams of yours are open, the most is %d", counts.Most).
				WithFix("close some").WithRetryAfter(5 * time.Second).WithNothingDone()
		}
		defer leave()
		return next(ctx, &patientConn{StreamingHandlerConn: conn, r: requestOf(ctx), a: a})
	}
}

func (a *admission) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// patientConn gives each message so long to be taken by the other side. Without that a watcher that does not read would
// hold a handler, and what it is about to send, until its connection ends.
type patientConn struct {
	connect.StreamingHandlerConn
	r *request
	a *admission
}

// Receive reads one message and no more of one that is too large.
func (c *patientConn) Receive(message any) error {
	c.r.mostBody = c.r.received.Load() + rpc.MaxStreamBytes + envelope
	return c.StreamingHandlerConn.Receive(message)
}

func (c *patientConn) Send(message any) error {
	if c.r.control == nil {
		return c.StreamingHandlerConn.Send(message)
	}
	limit := c.a.deps.Times.Write
	_ = c.r.control.SetWriteDeadline(time.Now().Add(limit)) // what cannot have a deadline is no connection
	begun := time.Now()
	err := c.StreamingHandlerConn.Send(message)
	if err == nil {
		_ = c.r.control.SetWriteDeadline(time.Time{})
		return nil
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begun) >= limit {
		c.a.deps.Refused(refusedSlow)
		return fault.Timeout("the caller has taken nothing for %s", limit).WithCause(err)
	}
	return err
}
