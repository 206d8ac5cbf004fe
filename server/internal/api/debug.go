package api

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/pprof"

	"connectrpc.com/connect"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// inspection mounts what looks inside the process, for those who may.
func inspection(mux *http.ServeMux, g *gate, metrics http.Handler) {
	if metrics != nil {
		mux.Handle("GET /metrics", g.guarded(metrics))
	}
	mux.Handle("GET /debug/pprof/", g.guarded(http.HandlerFunc(pprof.Index)))
	mux.Handle("GET /debug/pprof/profile", g.guarded(http.HandlerFunc(pprof.Profile)))
	mux.Handle("GET /debug/pprof/symbol", g.guarded(http.HandlerFunc(pprof.Symbol)))
	mux.Handle("GET /debug/pprof/trace", g.guarded(http.HandlerFunc(pprof.Trace)))
}

// guarded lets those through who may debug, by a bearer token as everywhere.
func (g *gate) guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := g.mayDebug(r.Context(), r.URL.Path, r.Header); err != nil {
			ce, whole := rpc.Encode(err, referenceOf(r.Context()))
			if !whole {
				g.report(r.Context(), r.URL.Path, err)
			}
			note(r.Context(), ce.Code().String())
			for _, retry := range ce.Meta().Values("Retry-After") {
				w.Header().Set("Retry-After", retry)
			}
			text(w, statusOf(ce.Code()), ce.Message()+"\n")
			return
		}
		g.deps.Log.LogAttrs(r.Context(), slog.LevelInfo, "server inspected",
			slog.String("path", r.URL.Path), slog.String("caller", requestOf(r.Context()).caller))
		next.ServeHTTP(w, r)
	})
}

func (g *gate) mayDebug(ctx context.Context, path string, header http.Header) error {
	spec := connect.Spec{Procedure: path, StreamType: connect.StreamTypeUnary, IdempotencyLevel: connect.IdempotencyNoSideEffects}
	if err := g.modest(ctx, spec); err != nil {
		return err
	}
	caller, err := g.identity(ctx, header, freshness{local: true}) // a server that is cut off must be looked into too
	if err != nil {
		return err
	}
	identify(ctx, caller)
	return allowed(caller, path, gestorv1.Permission_PERMISSION_SERVER_DEBUG)
}

func statusOf(c connect.Code) int {
	switch c { //nolint:exhaustive // everything else is our fault
	case connect.CodeUnauthenticated:
		return http.StatusUnauthorized
	case connect.CodePermissionDenied:
		return http.StatusForbidden
	case connect.CodeResourceExhausted:
		return http.StatusTooManyRequests
	case connect.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
