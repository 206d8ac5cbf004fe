package client

import (
	"context"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
)

// Options are the options every generated client is made with. A call that needs a recent proof of who calls is made again
// once that was given.
func (c *Client) Options() []connect.ClientOption {
	if c.prove == nil {
		return c.Client.Options()
	}
	outermost := connect.WithInterceptors(connect.UnaryInterceptorFunc(c.stepUp))
	return append([]connect.ClientOption{outermost}, c.Client.Options()...)
}

// stepUp asks for the proof and repeats the call once. The server has done nothing of a call that it refuses for that.
func (c *Client) stepUp(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		res, err := next(ctx, req)
		if fault.ReasonOf(err) != fault.ReasonStepUp {
			return res, err
		}
		if err := c.prove(ctx, c, err); err != nil {
			return nil, err
		}
		return next(ctx, req)
	}
}

// Factors is the service of second factors.
func (c *Client) Factors() gestorv1connect.FactorServiceClient {
	return gestorv1connect.NewFactorServiceClient(c.HTTP, c.URL, c.Options()...)
}
