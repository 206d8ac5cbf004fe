package api

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// outcomes stamps answers with the revision they come from, ends unary calls in time, and notes how calls ended.
type outcomes struct {
	revision func() uint64
	contact  func() time.Time                 // when this server last heard of a leader
	servers  func(ctx context.Context) string // all of them, for people's programs; may be nil
}

// stamp says what state an answer comes from, and of one that need not be the newest, how old it may be.
func (i *outcomes) stamp(ctx context.Context, h http.Header) {
	h.Set(rpc.HeaderRevision, strconv.FormatUint(i.revision(), 10))
	if caller, ok := auth.CallerFrom(ctx); ok && caller.Kind == auth.User && i.servers != nil {
		h.Set(rpc.HeaderServers, i.servers(ctx))
	}
	if !requestOf(ctx).local || i.contact == nil {
		return
	}
	if last := i.contact(); !last.IsZero() {
		h.Set(rpc.HeaderAge, strconv.FormatInt(max(0, time.Since(last).Milliseconds()), 10))
	}
}

func (i *outcomes) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		bounded, cancel := context.WithTimeout(ctx, unaryTimeout)
		defer cancel()
		res, err := next(bounded, req)
		if err != nil {
			note(ctx, connect.CodeOf(err).String())
			return nil, err
		}
		i.stamp(ctx, res.Header())
		return res, nil
	}
}

func (i *outcomes) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		if err != nil {
			note(ctx, connect.CodeOf(err).String())
		}
		return err
	}
}

func (i *outcomes) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// recovery turns a panic of a handler into an error, which the log gets with its stack and the client as a reference.
type recovery struct{}

func (i *recovery) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (_ connect.AnyResponse, err error) {
		defer caught(&err)
		return next(ctx, req)
	}
}

func (i *recovery) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) (err error) {
		defer caught(&err)
		return next(ctx, conn)
	}
}

func (i *recovery) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func caught(err *error) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint,err113 // the sentinel of net/http, by identity
		panic(p)
	}
	*err = fmt.Errorf("handler panicked: %v\n%s", p, debug.Stack())
}
