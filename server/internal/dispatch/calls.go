package dispatch

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Call says on whose behalf a change is made.
type Call struct {
	Actor     gestor.Actor
	RequestID string // makes a repeated call harmless; empty for none
}

// Cancel stops a task of the actor's tenant. A queued one is cancelled at once, a held one when its processes are dead.
func (d *Dispatcher) Cancel(ctx context.Context, c Call, id gestor.TaskID) (gestor.Task, error) {
	return d.change(ctx, c, id, command.CancelTask{ID: id})
}

// Retry queues a lost or failed task of the actor's tenant again.
func (d *Dispatcher) Retry(ctx context.Context, c Call, id gestor.TaskID) (gestor.Task, error) {
	return d.change(ctx, c, id, command.RetryTask{ID: id})
}

func (d *Dispatcher) change(ctx context.Context, c Call, id gestor.TaskID, op command.Op) (gestor.Task, error) {
	view := d.engine.View(gestor.TenantScope(c.Actor.TenantID))
	if _, err := view.Task(ctx, id); err != nil {
		return gestor.Task{}, err
	}
	if _, err := d.propose(ctx, c, op); err != nil {
		return gestor.Task{}, err
	}
	return view.Task(ctx, id)
}

func (d *Dispatcher) propose(ctx context.Context, c Call, op command.Op) (command.Receipt, error) {
	r, err := d.engine.Propose(ctx, command.Command{RequestID: c.RequestID, At: time.Now(), Actor: c.Actor, Op: op})
	if err != nil {
		return r, err
	}
	return r, d.engine.Wait(ctx, r.Revision)
}

// detectTimeout is how long a look into a repository may take.
const detectTimeout = 5 * time.Minute

// CreateDetect makes a task that looks into a repository, for any node of the actor's tenant.
func (d *Dispatcher) CreateDetect(ctx context.Context, c Call, source *agentv1.Source) (gestor.TaskID, error) {
	id := gestor.NewID[gestor.TaskID]("tsk")
	if err := d.someNode(ctx, c.Actor.TenantID); err != nil {
		return "", err
	}
	spec, err := proto.Marshal(&agentv1.TaskSpec{
		Kind: gestor.TaskDetect, Resource: "task/" + string(id),
		Work: &agentv1.TaskSpec_Detect{Detect: &agentv1.DetectWork{Source: source}},
	})
	if err != nil {
		return "", err
	}
	r, err := d.propose(ctx, c, command.CreateTask{Task: gestor.Task{
		ID: id, TenantID: c.Actor.TenantID, Kind: gestor.TaskDetect, Spec: spec,
		Resource: "task/" + string(id), MaxAttempts: 2, Priority: gestor.PriorityBuild, Timeout: detectTimeout, OnLost: gestor.LostRetry,
	}})
	if r.Object != "" {
		id = gestor.TaskID(r.Object) // of the first time, for a repeated request
	}
	return id, err
}

// someNode refuses work that no node could do.
func (d *Dispatcher) someNode(ctx context.Context, tenant gestor.TenantID) error {
	some, _, err := d.engine.View(gestor.TenantScope(tenant)).Nodes(ctx, gestor.Page{Size: 1})
	if err != nil {
		return err
	}
	if len(some) == 0 {
		return fault.Conflict("there is no node to look from").WithFix("add a node first: gestor nodes join-command <name>")
	}
	return nil
}
