package api

import (
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
)

// BenchmarkGate is what it costs to find out who calls and whether they may, per request: with a state that has not changed
// since the last one, as nearly always, and with one in which somebody has just signed in.
func BenchmarkGate(b *testing.B) {
	now := time.Now()
	for _, caller := range []string{"admin", "whole", "narrow"} {
		for _, changes := range []bool{false, true} {
			name := caller
			if changes {
				name += " after a change"
			}
			b.Run(name, func(b *testing.B) {
				w := newWall(b, true, now)
				g := &gate{deps: w.deps, policy: w.policy, known: &known{version: w.deps.Changes}}
				if changes {
					g.known.version = nil // nothing that was found out is kept
				}
				header := http.Header{"Authorization": {"Bearer " + w.tokens[caller]}}
				spec := connect.Spec{
					Procedure: gestorv1connect.AppServiceListAppsProcedure, StreamType: connect.StreamTypeUnary,
					IdempotencyLevel: connect.IdempotencyNoSideEffects,
				}
				ctx := context.WithValue(b.Context(), requestKey{}, &request{address: "192.0.2.1", reference: "bench"})
				b.ReportAllocs()
				for b.Loop() {
					if _, err := g.admit(ctx, spec, header); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
