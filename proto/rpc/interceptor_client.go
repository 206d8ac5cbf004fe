package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"

	"connectrpc.com/connect"
)

// ClientFaults turns every error of a call to address into a fault, as the clients of New do.
func ClientFaults(address string) connect.Interceptor { return &clientFaults{address: address} }

// clientFaults turns every error of a call to address into a fault.
type clientFaults struct{ address string }

var _ connect.Interceptor = (*clientFaults)(nil)

func (i *clientFaults) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		if err != nil {
			return nil, Decode(err, i.called(ctx))
		}
		return res, nil
	}
}

func (i *clientFaults) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		return &faultConn{StreamingClientConn: next(ctx, spec), address: i.called(ctx)}
	}
}

// called is the address of this attempt.
func (i *clientFaults) called(ctx context.Context) string {
	if a, ok := attemptOf(ctx); ok {
		return a.address
	}
	return i.address
}

func (i *clientFaults) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

// faultConn decodes the errors of a stream. io.EOF keeps its meaning: the end of what the peer sends, or a send on a stream
// the peer has ended (Receive then says why).
type faultConn struct {
	connect.StreamingClientConn
	address string
}

func (c *faultConn) Send(m any) error    { return c.decode(c.StreamingClientConn.Send(m)) }
func (c *faultConn) Receive(m any) error { return c.decode(c.StreamingClientConn.Receive(m)) }
func (c *faultConn) CloseRequest() error { return c.decode(c.StreamingClientConn.CloseRequest()) }

func (c *faultConn) CloseResponse() error { return c.decode(c.StreamingClientConn.CloseResponse()) }

func (c *faultConn) decode(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	return Decode(err, c.address)
}

// clientHeaders adds the token, the version, the revision and the consistency, and gives unary calls a deadline.
type clientHeaders struct{ o Options }

var _ connect.Interceptor = (*clientHeaders)(nil)

func (i *clientHeaders) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, i.o.Timeout)
			defer cancel()
		}
		i.add(req.Header())
		res, err := next(ctx, req)
		if err != nil {
			return nil, err
		}
		i.saw(res.Header())
		return res, nil
	}
}

func (i *clientHeaders) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		i.add(conn.RequestHeader())
		return conn
	}
}

func (i *clientHeaders) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}

func (i *clientHeaders) add(h http.Header) {
	if i.o.Token != nil {
		if token := i.o.Token(); token != "" {
			h.Set("Authorization", "Bearer "+token)
		}
	}
	if i.o.Version != "" {
		h.Set(HeaderVersion, i.o.Version)
		h.Set("User-Agent", "gestor/"+i.o.Version) // sessions and the audit log tell people by what they came
	}
	if i.o.Consistency != "" {
		h.Set(HeaderConsistency, i.o.Consistency)
	}
	if seen := i.o.Revision.Get(); seen > 0 {
		h.Set(HeaderMinRevision, strconv.FormatUint(seen, 10))
	}
}

func (i *clientHeaders) saw(h http.Header) {
	if revision, err := strconv.ParseUint(h.Get(HeaderRevision), 10, 64); err == nil {
		i.o.Revision.Saw(revision)
	}
	if servers := h.Get(HeaderServers); servers != "" && i.o.Servers != nil {
		i.o.Servers(servers)
	}
}
