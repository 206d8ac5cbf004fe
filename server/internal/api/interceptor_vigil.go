package api

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// vigil ends a person's stream whose sign-in or role has ended, or who sees something else now than when it began: a stream
// may last for days, and what it brings is shown only to who may see it when it is sent. Streams of agents are ended by the service they belong to.
type vigil struct{ gate *gate }

var _ connect.Interceptor = (*vigil)(nil)

// lookAgain is how long what is known of a stream's caller counts.
const lookAgain = time.Second

// WrapUnary implements connect.Interceptor.
func (v *vigil) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc { return next }

// WrapStreamingClient implements connect.Interceptor.
func (v *vigil) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// WrapStreamingHandler implements connect.Interceptor.
func (v *vigil) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if caller, _ := auth.CallerFrom(ctx); !caller.IsMember() {
			return next(ctx, conn)
		}
		return next(ctx, &guardedConn{StreamingHandlerConn: conn, gate: v.gate, ctx: ctx, looked: v.gate.deps.Now()})
	}
}

// guardedConn looks before it sends whether its caller may still have it.
type guardedConn struct {
	connect.StreamingHandlerConn
	gate   *gate
	ctx    context.Context //nolint:containedctx // the stream's own, as Connect's connections have theirs
	looked time.Time
}

func (c *guardedConn) Send(message any) error {
	if now := c.gate.deps.Now(); now.Sub(c.looked) >= lookAgain {
		c.looked = now
		if err := c.gate.stillMay(c.ctx, c.Spec(), c.RequestHeader()); err != nil {
			return err
		}
	}
	return c.StreamingHandlerConn.Send(message) //nolint:wrapcheck // Connect's own
}

// stillMay refuses a caller who could not make the call again, as far as this server knows.
func (g *gate) stillMay(ctx context.Context, spec connect.Spec, header http.Header) error {
	now, err := g.recognise(ctx, spec, func() (auth.Caller, error) { return g.authenticate(ctx, header) })
	if err != nil {
		return err
	}
	// The handler reads with what the caller had when the stream began.
	if then, _ := auth.CallerFrom(ctx); !reflect.DeepEqual(then.Scope(), now.Scope()) || then.User.Operator != now.User.Operator {
		return fault.Unavailable("what you may see has changed").WithFix("begin anew")
	}
	return nil
}
