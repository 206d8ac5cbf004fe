package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what the handlers need of replication and state.
type Engine interface {
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	View(s gestor.Scope) *state.View
	Wait(ctx context.Context, revision uint64) error
	Watch(tables ...state.Table) *state.Subscription
}

// reach is what one call may see and do: the state inside the caller's tenant, and commands in the caller's name.
// Handlers have no other way to a row, so an id of another tenant is as unknown as one that never was.
type reach struct {
	engine Engine
	view   *state.View
	caller auth.Caller
}

// reachOf is the reach of the caller of ctx inside the tenant.
func reachOf(ctx context.Context, e Engine) (reach, error) {
	caller, ok := auth.CallerFrom(ctx)
	if !ok || caller.Tenant == "" {
		return reach{}, fault.Unauthenticated("nobody is signed in").WithFix("sign in with `gestor login`")
	}
	return reach{engine: e, view: e.View(caller.Scope()), caller: caller}, nil
}

// platformOf is the reach of an operator over the installation. Only methods behind a permission of operators have it.
func platformOf(ctx context.Context, e Engine) (reach, error) {
	caller, _ := auth.CallerFrom(ctx)
	if !caller.IsMember() || !caller.Actor.Operator || !caller.User.Operator {
		return reach{}, fault.Denied("only operators of this installation may do this")
	}
	return reach{engine: e, view: e.View(gestor.SystemScope()), caller: caller}, nil
}

// seesAll refuses who is kept to some apps to change what is for all of them.
func (r reach) seesAll(what string) error {
	if len(r.caller.Scope().Narrow) == 0 {
		return nil
	}
	return fault.Denied("%s for all apps of the tenant, and you are kept to some", what).WithFix("ask an admin of your tenant")
}

// stays refuses settings with which an app would be out of the caller's sight.
func (r reach) stays(id gestor.AppID, s gestor.AppSettings) error {
	if r.caller.Scope().Allows(id, s.Environment) {
		return nil
	}
	return fault.Denied("you are kept to some apps, and this would be none of them").WithFix("choose an environment that is yours, or ask an admin of your tenant")
}

// propose proposes op and returns once this server has applied it. requestID may be empty.
func (r reach) propose(ctx context.Context, requestID string, op command.Op) (command.Receipt, error) {
	receipt, err := r.engine.Propose(ctx, command.Command{RequestID: requestID, At: time.Now(), Actor: r.caller.Actor, Op: op})
	if err != nil {
		return command.Receipt{}, err
	}
	return receipt, r.engine.Wait(ctx, receipt.Revision)
}

// app finds an app by id or slug. Ids hold an underscore and slugs never do.
func (r reach) app(ctx context.Context, ref string) (gestor.App, error) {
	if strings.HasPrefix(ref, "app_") {
		a, err := r.view.App(ctx, gestor.AppID(ref))
		return a, absent(err, "app", ref)
	}
	a, err := r.view.AppBySlug(ctx, ref)
	return a, absent(err, "app", ref)
}

func isNodeID(ref string) bool { return strings.HasPrefix(ref, "nod_") }

// node finds a node by id or name. Of an own and a shared node of one name the own is meant.
func (r reach) node(ctx context.Context, ref string) (gestor.Node, error) {
	if isNodeID(ref) {
		n, err := r.view.Node(ctx, gestor.NodeID(ref))
		return n, absent(err, "node", ref)
	}
	n, err := r.view.NodeByName(ctx, ref)
	return n, absent(err, "node", ref)
}

// release finds a release of an app by id or name.
func (r reach) release(ctx context.Context, app gestor.App, ref string) (gestor.Release, error) {
	if !strings.HasPrefix(ref, "rel_") {
		rel, err := r.view.ReleaseByName(ctx, app.ID, ref)
		return rel, absent(err, "release", ref)
	}
	rel, err := r.view.Release(ctx, gestor.ReleaseID(ref))
	if err == nil && rel.AppID != app.ID {
		err = fault.KindNotFound
	}
	return rel, absent(err, "release", ref)
}

// absent gives every way of not finding something the same words.
func absent(err error, noun, ref string) error {
	if errors.Is(err, fault.KindNotFound) {
		return fault.NotFound("there is no %s %q", noun, ref)
	}
	return err
}

// names returns the names of the tenant's nodes.
func (r reach) names(ctx context.Context) (nodeNames, error) {
	nodes, err := r.view.AllNodes(ctx)
	names := make(nodeNames, len(nodes))
	for _, n := range nodes {
		names[n.ID] = n.Name
	}
	return names, err
}

// nodeIDs turns what a person wrote, ids or names, into ids.
func (r reach) nodeIDs(ctx context.Context, field string, refs []gestor.NodeID) ([]gestor.NodeID, error) {
	ids := make([]gestor.NodeID, 0, len(refs))
	seen := map[gestor.NodeID]bool{}
	for i, ref := range refs {
		at := fmt.Sprintf("%s[%d]", field, i)
		n, err := r.node(ctx, string(ref))
		if errors.Is(err, fault.KindNotFound) {
			return nil, fault.Invalid(at, "there is no node %q", ref).WithFix("see `gestor nodes`")
		}
		if err != nil {
			return nil, err
		}
		if seen[n.ID] {
			return nil, fault.Invalid(at, "node %s is there twice", n.Name).WithFix("name it once")
		}
		seen[n.ID] = true
		ids = append(ids, n.ID)
	}
	return ids, nil
}

const maxPage = 500

func pageIn(p *gestorv1.PageRequest) gestor.Page {
	return gestor.Page{Size: int(p.GetSize()), Token: p.GetToken()}
}

func pageOut(next string) *gestorv1.PageResponse { return &gestorv1.PageResponse{NextToken: next} }

// open sends the headers of a stream. Without that a caller who waits for news sits in the call itself until there is some.
func open[T any](stream *connect.ServerStream[T]) error { return stream.Send(nil) }

// follow calls send at once and after every change of the tables, until it says that it is done. Changes that come
// while it sends are one more call.
func follow(ctx context.Context, e Engine, send func() (done bool, err error), tables ...state.Table) error {
	changes := e.Watch(tables...)
	defer changes.Close()
	for {
		done, err := send()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changes.C:
		}
	}
}
