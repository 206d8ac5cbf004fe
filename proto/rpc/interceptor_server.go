package rpc

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
)

// ServerFaults encodes the errors of handlers. reference returns the request's reference from its context; report is
// given every error whose text stays inside, and that reference.
func ServerFaults(reference func(context.Context) string, report func(ctx context.Context, procedure string, err error)) connect.Interceptor {
	return &serverFaults{reference: reference, report: report}
}

type serverFaults struct {
	reference func(context.Context) string
	report    func(ctx context.Context, procedure string, err error)
}

func (i *serverFaults) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		if err != nil {
			return nil, i.encode(ctx, req.Spec().Procedure, err)
		}
		return res, nil
	}
}

func (i *serverFaults) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := next(ctx, conn); err != nil {
			return i.encode(ctx, conn.Spec().Procedure, err)
		}
		return nil
	}
}

func (i *serverFaults) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (i *serverFaults) encode(ctx context.Context, procedure string, err error) error {
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && fault.KindOf(cause) != fault.KindInternal {
		err = cause // the server ended the request, and says why
	}
	ce, whole := Encode(err, i.reference(ctx))
	if !whole {
		i.report(ctx, procedure, err)
	}
	return ce
}
