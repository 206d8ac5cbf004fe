package api

import (
	"context"
	"errors"
	"iter"
	"sync"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// TaskLogs reads the logs of tasks.
type TaskLogs interface {
	Tail(ctx context.Context, id string, o history.TailOptions) iter.Seq2[[]*gestorv1.LogLine, error]
}

// AppTails reads what apps print, from the nodes. The channel is closed when nothing more will come.
type AppTails interface {
	OpenTail(ctx context.Context, node gestor.NodeID, slug string, last int, follow bool) (<-chan []*gestorv1.LogLine, error)
}

// LogDeps are what the log service needs; all of it.
type LogDeps struct {
	Engine Engine
	Tasks  TaskLogs
	Apps   AppTails
}

// LogService reads logs.
type LogService struct{ deps LogDeps }

var _ gestorv1connect.LogServiceHandler = (*LogService)(nil)

// NewLogService makes the service.
func NewLogService(d LogDeps) *LogService { return &LogService{deps: d} }

// TailTaskLog sends a task's log, and with follow goes on until the task has ended and its log is whole.
func (s *LogService) TailTaskLog(ctx context.Context, req *gestorv1.TailTaskLogRequest, stream *connect.ServerStream[gestorv1.TailTaskLogResponse]) error {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	t, err := r.task(ctx, req.GetTaskId())
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	options := history.TailOptions{After: req.GetAfterSeq(), Last: int(req.GetLast()), Follow: req.GetFollow()}
	if options.Follow {
		ended, stop := r.endOf(ctx, t.ID)
		defer stop()
		options.Ended = ended
	}
	for lines, err := range s.deps.Tasks.Tail(ctx, string(t.ID), options) {
		if err != nil {
			return err
		}
		if err := stream.Send(&gestorv1.TailTaskLogResponse{Lines: lines}); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// endOf returns a channel that is closed once the task has ended or is no more. stop ends the watching and waits
// for that.
func (r reach) endOf(ctx context.Context, id gestor.TaskID) (ended <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		// An error is the task being gone or ctx being over: either way nothing more comes.
		_ = follow(ctx, r.engine, func() (bool, error) {
			t, err := r.view.Task(ctx, id)
			return t.State.Ended(), err
		}, state.Tasks)
	}()
	return done, func() { cancel(); <-done }
}

const defaultTail = 100

// TailAppLog sends what an app prints on its nodes, as it comes, and says which nodes it cannot hear.
func (s *LogService) TailAppLog(ctx context.Context, req *gestorv1.TailAppLogRequest, stream *connect.ServerStream[gestorv1.TailAppLogResponse]) error {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return err
	}
	nodes, err := r.tailNodes(ctx, app, req.GetNode())
	if err != nil {
		return err
	}
	if err := open(stream); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := s.merge(ctx, nodes, app.Slug, req)
	for m := range out {
		if err := stream.Send(m); err != nil {
			cancel()
			drain(out)
			return err
		}
	}
	return ctx.Err()
}

// lastOf is how many lines of a node to begin with.
func lastOf(req *gestorv1.TailAppLogRequest, node string) int {
	if n, ok := req.GetLastOf()[node]; ok {
		return int(n)
	}
	if req.GetLast() == 0 {
		return defaultTail
	}
	return int(req.GetLast())
}

// tailNodes are the nodes of an app, or the one that was asked for.
func (r reach) tailNodes(ctx context.Context, app gestor.App, ref string) ([]gestor.Node, error) {
	if ref != "" {
		n, err := r.node(ctx, ref)
		return []gestor.Node{n}, err
	}
	if len(app.Settings.Nodes) == 0 {
		return nil, fault.Conflict("app %s is on no node", app.Slug).WithFix("give it nodes in its settings")
	}
	var nodes []gestor.Node
	for _, id := range app.Settings.Nodes {
		n, err := r.view.Node(ctx, id)
		if errors.Is(err, fault.KindNotFound) {
			continue // deleted since; its log went with it
		}
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// merge brings the tails of nodes together. The channel is closed once all have ended, which they do with ctx.
func (s *LogService) merge(ctx context.Context, nodes []gestor.Node, slug string, req *gestorv1.TailAppLogRequest) <-chan *gestorv1.TailAppLogResponse {
	out := make(chan *gestorv1.TailAppLogResponse)
	var tails sync.WaitGroup
	for _, n := range nodes {
		t := &appTail{apps: s.deps.Apps, node: n, slug: slug, last: lastOf(req, n.Name), follow: req.GetFollow(), out: out}
		tails.Go(func() { t.run(ctx) })
	}
	go func() { tails.Wait(); close(out) }()
	return out
}

// drain empties a channel whose senders end with their context.
func drain[T any](c <-chan T) {
	for range c {
	}
}
