package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/fsm"
)

// Forwarder takes to the leader what only it can do. An error with cluster.ErrNotLeader as its cause says that nothing
// was done; another one of the network leaves that open.
type Forwarder interface {
	Propose(ctx context.Context, leader string, data []byte) (command.Receipt, error)
	ReadIndex(ctx context.Context, leader string) (uint64, error)
}

// Forward says how to reach the leader. It is called before Run; without it only the leader can propose.
func (e *Engine) Forward(f Forwarder) { e.forward = &attended{Forwarder: f, leader: e.Leader} }

const (
	patience = 10 * time.Second      // how long a call waits for a leader, unless its caller has less time
	election = 3 * time.Second       // how long nobody may have led for a call to wait at all: by then a majority is missing
	lookOut  = 20 * time.Millisecond // between looks for one

	retrySoon = time.Second // a hint for callers
)

// Propose replicates c, on whichever server leads, and waits until it is applied here. It waits out an election. A refusal by
// the state machine comes back as a *fault.Error; so do an overload (Exhausted) and a cluster that stays without a leader
// (Unavailable), after which c may or may not be applied: proposing it again with the same RequestID settles it. At is made
// the time of the cluster, and the RequestID of what a user does a random one if it has none, so that it can be settled here.
func (e *Engine) Propose(ctx context.Context, c command.Command) (command.Receipt, error) {
	begun := time.Now()
	receipt, err := e.propose(ctx, c)
	if e.observe != nil {
		e.observe(time.Since(begun), err)
	}
	return receipt, err
}

func (e *Engine) propose(ctx context.Context, c command.Command) (command.Receipt, error) {
	switch {
	case e.now != nil:
		c.At = e.now()
	case c.At.IsZero():
		c.At = time.Now()
	}
	if c.RequestID == "" && c.Actor.Kind == "user" {
		c.RequestID = "auto_" + rand.Text()
	}
	if err := e.checkLevel(ctx, c.Op); err != nil {
		return command.Receipt{}, err
	}
	data, err := command.Marshal(c)
	if err != nil {
		return command.Receipt{}, err
	}
	var receipt command.Receipt
	err = e.insist(ctx, c.RequestID != "", func(ctx context.Context, leader string) error {
		if leader == e.id {
			receipt, err = e.ProposeHere(ctx, data)
			return err
		}
		if receipt, err = e.forward.Propose(ctx, leader, data); err != nil {
			return err
		}
		return e.Wait(ctx, receipt.Revision)
	})
	return receipt, err
}

// ProposeHere replicates a command in its wire form, if this server leads.
func (e *Engine) ProposeHere(ctx context.Context, data []byte) (command.Receipt, error) {
	if err := e.admit(data); err != nil {
		return command.Receipt{}, err
	}
	answer, err := e.cluster.Propose(ctx, data)
	if err != nil {
		return command.Receipt{}, err
	}
	r, ok := answer.(fsm.Result)
	if !ok {
		return command.Receipt{}, fmt.Errorf("the state machine answered %T", answer)
	}
	return r.Receipt, r.Err
}

// Barrier returns once this server has applied everything that was committed anywhere before the call, so that a read
// after it is linearizable. It waits out an election.
func (e *Engine) Barrier(ctx context.Context) error {
	return e.insist(ctx, true, func(ctx context.Context, leader string) error {
		var revision uint64
		var err error
		if leader == e.id {
			revision, err = e.cluster.ReadIndex(ctx)
		} else {
			revision, err = e.forward.ReadIndex(ctx, leader)
		}
		if err != nil {
			return err
		}
		return e.Wait(ctx, revision)
	})
}

// ReadIndexHere returns a revision that holds everything committed before the call, if this server leads.
func (e *Engine) ReadIndexHere(ctx context.Context) (uint64, error) { return e.cluster.ReadIndex(ctx) }

// insist does something with the leader, again while it certainly was not done, or may be done twice, until there is
// no time left.
func (e *Engine) insist(ctx context.Context, harmless bool, do func(ctx context.Context, leader string) error) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	open := false // whether an attempt before may have been taken
	for {
		err := e.once(limited, do)
		if err == nil || !errors.Is(err, fault.KindUnavailable) || !harmless && !errors.Is(err, cluster.ErrNotLeader) {
			return honest(err, open)
		}
		if e.cluster.Leaderless() > election {
			return honest(err, open)
		}
		open = open || !errors.Is(err, cluster.ErrNotLeader)
		select {
		case <-limited.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return context.Cause(ctx)
			}
			return honest(err, open)
		case <-time.After(lookOut):
		}
	}
}

// honest does not let the last attempt say that nothing was done, or refuse, when one before it may have been taken.
func honest(err error, open bool) error {
	if !open || !errors.Is(err, fault.KindUnavailable) && !errors.Is(err, fault.KindExhausted) {
		return err // a refusal by the state machine is of all attempts, they have one request id
	}
	return fault.Unavailable("the servers changed their leader meanwhile, the outcome is not known").
		WithFix("look whether it was done, or try again").WithRetryAfter(retrySoon).WithCause(opaque{err})
}

// opaque keeps an error for the log, and from being recognised.
type opaque struct{ err error }

func (o opaque) Error() string { return o.err.Error() }

func (e *Engine) once(ctx context.Context, do func(ctx context.Context, leader string) error) error {
	leader := e.Leader()
	if leader == "" || leader != e.id && e.forward == nil {
		return fault.Unavailable("no control server leads: a majority of them is missing, or is choosing one").
			WithFix("try again in a moment; `gestor servers list` tells which are there").
			WithRetryAfter(time.Second).WithCause(cluster.ErrNotLeader)
	}
	err := do(ctx, leader)
	if err != nil && ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded) {
		return fault.Unavailable("the server that leads did not answer in time").WithRetryAfter(time.Second).WithCause(err)
	}
	return err
}
