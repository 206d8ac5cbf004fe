package api

import (
	"context"
	"errors"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

func TestDoubts_LookAgainWhenAServerThatWasBehindRefusesAChange(t *testing.T) {
	lost := fault.Unavailable("nobody leads")
	for _, c := range []struct {
		what    string
		kind    auth.Kind
		first   error
		arrives bool // with the barrier
		barrier error
		want    error
		calls   int
	}{
		{"what it names arrives", auth.User, fault.NotFound("no app"), true, nil, nil, 2},
		{"there is nothing to arrive", auth.User, fault.NotFound("no app"), false, nil, fault.KindNotFound, 1},
		{"nobody knows", auth.User, fault.NotFound("no app"), false, lost, fault.KindUnavailable, 1},
		{"an outcome that is open", auth.User, lost, true, nil, fault.KindUnavailable, 1},
		{"an agent", auth.Agent, fault.NotFound("no task"), true, nil, fault.KindNotFound, 1},
	} {
		t.Run(c.what, func(t *testing.T) {
			revision, calls := uint64(7), 0
			g := &gate{known: &known{}, deps: Deps{
				Revision: func() uint64 { return revision },
				Barrier: func(context.Context) error {
					if c.arrives {
						revision++
					}
					return c.barrier
				},
				Times: Times{Revision: time.Second},
			}}
			call := (&doubts{g}).WrapUnary(func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) {
				if calls++; revision == 7 || calls == 1 {
					return nil, c.first
				}
				return connect.NewResponse(&gestorv1.UpdateAppResponse{}), nil
			})
			ctx := auth.WithCaller(t.Context(), auth.Caller{Kind: c.kind})
			_, err := call(ctx, connect.NewRequest(&gestorv1.UpdateAppRequest{}))
			if !errors.Is(err, c.want) || calls != c.calls {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
	}
}
