package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// freshness is how new a state a caller wants to be answered from.
type freshness struct {
	least uint64 // no revision before this
	local bool   // what is here will do
}

func wanted(header http.Header) (freshness, error) {
	var want freshness
	if raw := header.Get(rpc.HeaderMinRevision); raw != "" {
		least, err := strconv.ParseUint(raw, 10, 64)
		if err != nil {
			return want, fault.Invalid(rpc.HeaderMinRevision, "%.30q is no revision", raw)
		}
		want.least = least
	}
	switch raw := header.Get(rpc.HeaderConsistency); raw {
	case "", rpc.ConsistencyLeader:
	case rpc.ConsistencyLocal:
		want.local = true
	default:
		return want, fault.Invalid(rpc.HeaderConsistency, "%.30q is neither %q nor %q", raw, rpc.ConsistencyLeader, rpc.ConsistencyLocal)
	}
	return want, nil
}

// refresh waits until this server has what the answer to a caller must come from.
func (g *gate) refresh(ctx context.Context, c auth.Caller, spec connect.Spec, want freshness) error {
	if c.Kind == auth.Anonymous {
		return nil
	}
	if err := g.catchUp(ctx, want); err != nil {
		return err
	}
	reads := spec.IdempotencyLevel == connect.IdempotencyNoSideEffects && spec.StreamType == connect.StreamTypeUnary
	if !reads || !c.IsMember() {
		return nil
	}
	if want.local {
		requestOf(ctx).local = true
		return g.inTouch(spec)
	}
	leave, ok := g.deps.Limits.barriers.Enter(partyOf(c, ""))
	if !ok {
		return g.refuse(refusedBusy, fault.Exhausted("too many reads wait for the server that leads").WithRetryAfter(time.Second))
	}
	defer leave()
	return g.barrier(ctx)
}

// outOfTouch is how long a server may have heard of no leader, and go on to answer people from what it has.
const outOfTouch = time.Minute

// inTouch refuses to answer from here where a sign-in may have been revoked elsewhere for longer than a moment. Who the servers are, and
// how they are, may be asked always: that is what helps then.
func (g *gate) inTouch(spec connect.Spec) error {
	if g.deps.Contact == nil || spec.Procedure == gestorv1connect.ServerServiceListServersProcedure {
		return nil
	}
	since := "it started"
	if last := g.deps.Contact(); !last.IsZero() {
		silence := time.Since(last)
		if silence <= outOfTouch {
			return nil
		}
		since = silence.Round(time.Second).String() + " ago"
	}
	return fault.Unavailable("this server has heard of no leader since %s, so it cannot know whether your sign-in still counts, and does not answer from what it has", since).
		WithFix("ask another server; `gestor servers list --read local` tells which are there").WithRetryAfter(time.Second)
}

// catchUp waits until this server has applied what the caller has seen on another.
func (g *gate) catchUp(ctx context.Context, want freshness) error {
	if want.least <= g.deps.Revision() {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, g.deps.Times.Revision)
	defer cancel()
	if err := g.deps.Engine.Wait(waiting, want.least); err != nil && ctx.Err() == nil {
		return fault.Unavailable("this server is behind what you have seen elsewhere").WithCause(err).WithRetryAfter(time.Second)
	}
	return ctx.Err()
}

// barrier waits until this server has all that was committed anywhere before the call.
func (g *gate) barrier(ctx context.Context) error {
	if g.deps.Barrier == nil {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, g.deps.Times.Revision)
	defer cancel()
	err := g.deps.Barrier(waiting)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case waiting.Err() != nil, errors.Is(err, fault.KindUnavailable):
		return fault.Unavailable("no control server leads, so the newest state cannot be read").
			WithFix("try again in a moment, or read what this server has with `--read local`").
			WithRetryAfter(time.Second).WithCause(err)
	}
	return err
}

// errUnknown marks a refusal of somebody whom another server may know already.
var errUnknown = errors.New("unknown here")

// doubt settles whether somebody who is unknown here has only not arrived here yet: a session is made on one server and
// shown to another a moment later. It returns nil if the state is newer than seen, so that looking again is worth it.
// Strangers do not get many looks, and few at once.
func (g *gate) doubt(ctx context.Context, want freshness, seen uint64, refusal error) error {
	behind := want.least > g.deps.Revision()
	if !behind && (want.local || g.deps.Barrier == nil) {
		return refusal
	}
	network := auth.Network(requestOf(ctx).address)
	if wait := g.deps.Limits.strangers.Take(network); wait > 0 {
		return g.refuse(refusedStranger, tooOften("network with sign-ins that are unknown here", wait))
	}
	leave, ok := g.deps.Limits.doubts.Enter(network)
	if !ok {
		return g.refuse(refusedStranger, tooOften("network with sign-ins that are unknown here", time.Second))
	}
	defer leave()
	if behind {
		return g.catchUp(ctx, want)
	}
	if err := g.barrier(ctx); err != nil {
		return err
	}
	if g.deps.Revision() == seen {
		return refusal
	}
	return nil
}
