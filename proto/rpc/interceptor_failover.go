package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/saas-gestor/gestor/proto/fault"
)

// failover is the one place that sends a call again. It keeps to the address that works; when a call fails there before
// it was answered, it goes to the next one. A request that may have arrived is sent again only if that does no harm.
type failover struct {
	servers *addresses
	timeout time.Duration
	moved   func(Move)
}

var _ connect.Interceptor = (*failover)(nil)

// WrapUnary implements connect.Interceptor.
func (f *failover) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, f.timeout)
			defer cancel()
		}
		return f.call(ctx, next, req)
	}
}

func (f *failover) call(ctx context.Context, next connect.UnaryFunc, req connect.AnyRequest) (connect.AnyResponse, error) {
	t, safe := newTrip(ctx, f.servers), harmless(req)
	a := &attempt{address: f.servers.inUse()}
	for {
		res, err := try(ctx, a, safe && t.untried(a.address), next, req)
		if err == nil || !Outage(err) {
			f.answered(a.address)
			return res, err
		}
		if ctx.Err() != nil {
			return nil, err
		}
		t.failed(a.address, err)
		if !safe && a.sent.Load() && !nothingDone(err) {
			return nil, err
		}
		address, ok := t.next(ctx)
		if !ok {
			return nil, t.verdict(err)
		}
		a = &attempt{address: address}
	}
}

// try makes one attempt; hurried, it leaves time to ask another server.
func try(ctx context.Context, a *attempt, hurried bool, next connect.UnaryFunc, req connect.AnyRequest) (connect.AnyResponse, error) {
	if hurried {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, attemptLimit)
		defer cancel()
	}
	return next(a.in(ctx), req)
}

func (f *failover) answered(address string) {
	if m, ok := f.servers.answered(address); ok && f.moved != nil {
		f.moved(m)
	}
}

// harmless reports whether req may be carried out twice: it only reads, or repeats itself without effect, or has a
// request id by which the servers recognise it.
func harmless(req connect.AnyRequest) bool {
	switch req.Spec().IdempotencyLevel {
	case connect.IdempotencyNoSideEffects, connect.IdempotencyIdempotent:
		return true
	case connect.IdempotencyUnknown:
	}
	m, ok := req.Any().(proto.Message)
	if !ok {
		return false
	}
	reflected := m.ProtoReflect()
	field := reflected.Descriptor().Fields().ByName("request_id")
	return field != nil && field.Kind() == protoreflect.StringKind && reflected.Get(field).String() != ""
}

func nothingDone(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.NothingDone
}

// WrapStreamingClient implements connect.Interceptor. A server's stream that brings nothing is opened anew elsewhere; one
// that has begun is its reader's to resume, and finds another server then. Other streams only choose their server.
func (f *failover) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		c := &failoverConn{f: f, ctx: ctx, spec: spec, next: next, trip: newTrip(ctx, f.servers)}
		c.open(ctx, f.servers.inUse())
		return c
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (f *failover) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// failoverConn is a stream at the address of its attempt.
type failoverConn struct {
	connect.StreamingClientConn

	f       *failover
	ctx     context.Context    //nolint:containedctx // the stream's own, as Connect's connections have theirs
	cancel  context.CancelFunc // of a server's stream at this address
	spec    connect.Spec
	next    connect.StreamingClientFunc
	trip    *trip
	address string
	request any  // the one message of a server's stream
	begun   bool // a message has arrived
}

func (c *failoverConn) open(ctx context.Context, address string) {
	if c.spec.StreamType == connect.StreamTypeServer {
		ctx, c.cancel = context.WithCancel(ctx)
	}
	c.address = address
	c.StreamingClientConn = c.next((&attempt{address: address}).in(ctx), c.spec)
}

// Send implements connect.StreamingClientConn.
func (c *failoverConn) Send(m any) error {
	c.request = m
	return c.StreamingClientConn.Send(m)
}

// Receive implements connect.StreamingClientConn.
func (c *failoverConn) Receive(m any) error {
	for {
		err := c.StreamingClientConn.Receive(m)
		if err == nil || errors.Is(err, io.EOF) || !Outage(err) {
			c.begun = true
			c.f.answered(c.address)
			return err
		}
		if c.ctx.Err() != nil {
			return err
		}
		c.trip.failed(c.address, err)
		if c.begun || c.spec.StreamType != connect.StreamTypeServer {
			return err
		}
		address, ok := c.trip.next(c.ctx)
		if !ok {
			return c.trip.verdict(err)
		}
		if c.reopen(address) != nil {
			return err
		}
	}
}

// reopen sends the request again to another address.
func (c *failoverConn) reopen(address string) error {
	header := c.RequestHeader()
	_ = c.StreamingClientConn.CloseResponse()
	c.cancel()
	c.open(c.ctx, address)
	carry(c.RequestHeader(), header)
	if err := c.StreamingClientConn.Send(c.request); err != nil && !errors.Is(err, io.EOF) {
		if !Outage(err) || c.ctx.Err() != nil {
			return err
		}
	}
	return c.CloseRequest() //nolint:wrapcheck // Connect's own
}

// carry copies what the caller had set.
func carry(to, from http.Header) {
	for name, values := range from {
		if _, ok := to[name]; !ok {
			to[name] = values
		}
	}
}

// CloseResponse implements connect.StreamingClientConn.
func (c *failoverConn) CloseResponse() error {
	if c.cancel != nil {
		defer c.cancel()
	}
	return c.StreamingClientConn.CloseResponse() //nolint:wrapcheck // Connect's own
}
