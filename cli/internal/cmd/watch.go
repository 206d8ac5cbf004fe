package cmd

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/progress"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// watchOptions is how long and how closely a deployment is followed.
type watchOptions struct {
	noWait, noWatch, logs, cancelOnInterrupt bool
}

func (o *watchOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&o.noWait, "no-wait", false, "start it and leave")
	f.BoolVar(&o.noWatch, "no-watch", false, "leave as soon as it is live, before its watch has ended")
	f.BoolVar(&o.logs, "logs", false, "print the whole build log")
	f.BoolVar(&o.cancelOnInterrupt, "cancel-on-interrupt", false, "Ctrl-C cancels the deployment instead of leaving it to the servers")
}

// watcher follows one deployment. Streams run in goroutines of their own and hand what they read to the one that shows
// it.
type watcher struct {
	r    *run
	conn *client.Client
	app  string
	o    watchOptions
	view progress.View

	d       *gestorv1.Deployment
	logTask string // the build's task, once its log is read
	events  chan func() error
	streams sync.WaitGroup
	logDone chan struct{}
	ways    string // what was said last of how to go on
}

// errSettled ends the loop in good order.
var errSettled = errors.New("settled")

// follow shows a deployment until it has ended and turns its end into an error or nil.
func (r *run) follow(ctx context.Context, conn *client.Client, app string, d *gestorv1.Deployment, o watchOptions) error {
	if o.noWait {
		return r.showStarted(app, d)
	}
	w := &watcher{r: r, conn: conn, app: app, o: o, events: make(chan func() error, 64), view: r.view(o)}
	r.headline(app, d)
	err := w.run(ctx, d)
	w.view.Close()
	if err != nil {
		return w.left(ctx, err)
	}
	return r.outcome(ctx, conn, app, w.d)
}

func (r *run) view(o watchOptions) progress.View {
	live := r.env.OutTerminal && !r.out.JSON && r.env.Getenv("TERM") != "dumb"
	return progress.New(r.out, progress.Options{Live: live, Logs: o.logs, Width: r.env.Width})
}

func (r *run) headline(app string, d *gestorv1.Deployment) {
	verb := "deploying"
	if d.GetRollback() {
		verb = "rolling back"
	}
	to := ""
	if d.GetRelease().GetName() != "" {
		to = " to release " + d.GetRelease().GetName()
	}
	r.out.Linef("%s %s%s (%s)", verb, app, to, d.GetId())
}

func (r *run) showStarted(app string, d *gestorv1.Deployment) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.GetDeploymentResponse{Deployment: d})
	}
	r.out.Linef("started deployment %s of %s", d.GetId(), app)
	r.out.Notef("watch it with: gestor deployments watch %s", d.GetId())
	return nil
}

// run is the loop: one event at a time until the deployment has settled or ctx ends.
func (w *watcher) run(ctx context.Context, d *gestorv1.Deployment) error {
	streams, stop := context.WithCancel(ctx)
	w.r.notify = func(text string) { _ = w.send(streams, w.notice(text)) }
	defer func() {
		stop()
		w.streams.Wait()
		w.r.notify = nil
	}()
	err := w.took(streams, &gestorv1.WatchDeploymentResponse{Deployment: d, Revision: d.GetRevision()})
	if err == nil {
		w.start(streams, func() error { return w.watch(streams, d) })
	}
	ticks := time.NewTicker(100 * time.Millisecond)
	defer ticks.Stop()
	for err == nil {
		select {
		case do := <-w.events:
			err = do()
		case <-ticks.C:
			w.view.Tick()
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if !errors.Is(err, errSettled) {
		return err
	}
	w.drainLog(ctx)
	return nil
}

// start runs a stream and hands its error to the loop.
func (w *watcher) start(ctx context.Context, stream func() error) {
	w.streams.Go(func() {
		if err := stream(); err != nil {
			_ = w.send(ctx, func() error { return err }) // fails only when the loop has ended
		}
	})
}

func (w *watcher) watch(ctx context.Context, d *gestorv1.Deployment) error {
	after, ended := d.GetRevision(), false
	f := &client.Follow[gestorv1.WatchDeploymentResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.WatchDeploymentResponse], error) {
			return w.conn.Deployments().WatchDeployment(ctx, &gestorv1.WatchDeploymentRequest{Id: d.GetId(), AfterRevision: after})
		},
		Each: func(m *gestorv1.WatchDeploymentResponse) error {
			after, ended = max(after, m.GetRevision()), deploymentEnded(m.GetDeployment())
			return w.send(ctx, func() error { return w.took(ctx, m) })
		},
		Whole:  func() bool { return ended },
		Broken: func(error) { _ = w.send(ctx, w.notice("connection lost, the deployment goes on; reconnecting")) },
		Back:   func() { _ = w.send(ctx, w.notice("reconnected")) },
		Grace:  grace(w.conn),
	}
	return f.Run(ctx)
}

func (w *watcher) notice(text string) func() error {
	return func() error {
		if !w.r.out.JSON {
			w.view.Notice(text)
		}
		return nil
	}
}

func (w *watcher) send(ctx context.Context, do func() error) error {
	select {
	case w.events <- do:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// took takes a new state of the deployment.
func (w *watcher) took(ctx context.Context, m *gestorv1.WatchDeploymentResponse) error {
	w.d = m.GetDeployment()
	if w.r.out.JSON {
		if err := w.r.out.Event(m); err != nil {
			return err
		}
	} else {
		w.view.Deployment(w.d)
		w.tellWays()
	}
	w.readLog(ctx)
	if deploymentEnded(w.d) || (w.o.noWatch && w.d.GetState() == gestorv1.DeploymentState_DEPLOYMENT_STATE_WATCHING) {
		return errSettled
	}
	return nil
}

// tellWays says, when a deployment begins to wait before its switch, who can let it go on and how.
func (w *watcher) tellWays() {
	ways := ""
	if w.d.GetWaiting() != "" {
		ways = strings.Join(w.r.waysOn(w.d), "\n")
	}
	if ways == w.ways {
		return
	}
	w.ways = ways
	for line := range strings.Lines(ways) {
		w.view.Notice(strings.TrimSuffix(line, "\n"))
	}
}

// readLog begins to read the build's log, where somebody looks at it.
func (w *watcher) readLog(ctx context.Context) {
	task := w.d.GetBuild().GetTaskId()
	building := w.d.GetState() == gestorv1.DeploymentState_DEPLOYMENT_STATE_BUILDING
	looks := w.o.logs || (w.r.env.OutTerminal && !w.r.out.JSON)
	if w.logTask != "" || task == "" || !building || !looks {
		return
	}
	w.logTask, w.logDone = task, make(chan struct{})
	w.streams.Go(func() {
		defer close(w.logDone)
		f := taskTail(w.conn, task, tailOptions{follow: true}, func(m *gestorv1.TailTaskLogResponse) error {
			return w.send(ctx, func() error { return w.logged(m) })
		})
		if err := f.Run(ctx); err != nil && ctx.Err() == nil {
			_ = w.send(ctx, w.notice("the build's log cannot be read: "+err.Error()))
		}
	})
}

func (w *watcher) logged(m *gestorv1.TailTaskLogResponse) error {
	if w.r.out.JSON {
		return w.r.out.Event(m)
	}
	w.view.Log(m.GetLines())
	return nil
}

// drainLog prints the rest of the log, for those who asked for all of it.
func (w *watcher) drainLog(ctx context.Context) {
	if !w.o.logs || w.logDone == nil {
		return
	}
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	for {
		select {
		case do := <-w.events:
			_ = do()
		case <-w.logDone:
			w.flush()
			return
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (w *watcher) flush() {
	for {
		select {
		case do := <-w.events:
			_ = do()
		default:
			return
		}
	}
}

// left is why the loop ended before the deployment did.
func (w *watcher) left(ctx context.Context, err error) error {
	id := w.d.GetId()
	if !errors.Is(err, ErrInterrupted) {
		w.r.out.Notef("the deployment may go on; watch it with: gestor deployments watch %s", id)
		return err
	}
	if w.o.cancelOnInterrupt {
		return w.cancelled(ctx)
	}
	if w.d.GetHold() != nil && w.d.GetWaiting() != "" {
		w.r.out.Notef("interrupted; the deployment goes on waiting, and goes live when it may")
	} else {
		w.r.out.Notef("interrupted; the deployment goes on")
	}
	w.r.out.Notef("  watch it   gestor deployments watch %s", id)
	w.r.out.Notef("  cancel it  gestor deployments cancel %s", id)
	return reported{ErrInterrupted}
}

// cancelled stops the deployment and shows it going back. A second Ctrl-C leaves.
func (w *watcher) cancelled(ctx context.Context) error {
	ctx, stop := w.r.env.Interrupts(context.WithoutCancel(ctx))
	defer stop()
	w.r.out.Notef("cancelling; press Ctrl-C again to leave")
	res, err := w.conn.Deployments().CancelDeployment(ctx, &gestorv1.CancelDeploymentRequest{Id: w.d.GetId()})
	if err != nil {
		return err
	}
	o := w.o
	o.cancelOnInterrupt, o.logs = false, false
	if err := w.r.follow(ctx, w.conn, w.app, res.GetDeployment(), o); err != nil {
		return err
	}
	return nil
}

func deploymentEnded(d *gestorv1.Deployment) bool {
	switch d.GetState() {
	case gestorv1.DeploymentState_DEPLOYMENT_STATE_SUCCEEDED, gestorv1.DeploymentState_DEPLOYMENT_STATE_FAILED,
		gestorv1.DeploymentState_DEPLOYMENT_STATE_CANCELLED:
		return true
	default:
		return false
	}
}
