package fsm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// change is one command on its way into the state.
type change struct {
	*state.Txn

	ctx   context.Context
	index uint64 // of the Raft entry
	at    time.Time
	actor gestor.Actor

	tenant gestor.TenantID // whose audit log it goes to
	object string          // the id it is done to
	detail map[string]any  // what the audit log says of it; never a secret
	before map[string]any  // what was, as the audit log shows it; see was
	after  map[string]any  // what is
	weight gestor.AuditSeverity
	marked bool // it is a mark
}

// about notes for receipt and audit log what the change is done to.
func (c *change) about(id string, detail map[string]any) {
	c.object, c.detail = id, detail
}

// mine reads what the actor may touch: its tenant's, or everything for the system. The API has checked that already;
// this keeps a mistake there from crossing tenants.
func (c *change) mine() *state.View {
	if c.actor.TenantID == "" || c.actor.Operator && c.atLeast(2) {
		return c.In(gestor.SystemScope())
	}
	return c.In(gestor.TenantScope(c.actor.TenantID))
}

// atLeast reports whether the state has a level. What a level brought is done from that level on, and nothing of it before:
// servers that do not know it must come to the same state.
func (c *change) atLeast(level uint32) bool { return c.AtLeast(level) }

// absent turns the answer to a read into whether there is no such thing.
func absent(err error) (bool, error) {
	if errors.Is(err, fault.KindNotFound) {
		return true, nil
	}
	return false, err
}

// unless turns the answer to a read into a refusal if there is such a thing.
func unless(err error, refusal *fault.Error) error {
	none, err := absent(err)
	if err != nil || none {
		return err
	}
	return refusal
}

// second drops the value of a read that is only made for its error.
func second[T any](_ T, err error) error { return err }

func (c *change) apply(op command.Op) error {
	switch op := op.(type) {
	case command.InitCluster:
		return c.initCluster(op)
	case command.Claim:
		return c.claim(op)
	case command.CreateSession:
		return c.createSession(op)
	case command.DeleteSession:
		return c.deleteSession(op)
	case command.CreateJoinToken:
		return c.createJoinToken(op)
	case command.EnrollNode:
		return c.enrollNode(op)
	case command.RenewNode:
		return c.renewNode(op)
	case command.SetNodeStatus:
		return c.setNodeStatus(op)
	case command.SetNodeDraining:
		return c.setNodeDraining(op)
	case command.DeleteNode:
		return c.deleteNode(op)
	case command.CreateApp:
		return c.createApp(op)
	case command.UpdateApp:
		return c.updateApp(op)
	case command.DeleteApp:
		return c.deleteApp(op)
	case command.ForgetApp:
		return c.forgetApp(op)
	case command.UpdateEnv:
		return c.updateEnv(op)
	}
	if done, err := c.applyTokenOp(op); done {
		return err
	}
	if done, err := c.applyFactorOp(op); done {
		return err
	}
	if done, err := c.applyProviderOp(op); done {
		return err
	}
	if done, err := c.applyServerOp(op); done {
		return err
	}
	if done, err := c.applyEventOp(op); done {
		return err
	}
	if done, err := c.applyPeopleOp(op); done {
		return err
	}
	if done, err := c.applySecretOp(op); done {
		return err
	}
	if done, err := c.applyTenantOp(op); done {
		return err
	}
	if done, err := c.applyLogOp(op); done {
		return err
	}
	if done, err := c.applyAuditOp(op); done {
		return err
	}
	if done, err := c.applyProtectionOp(op); done {
		return err
	}
	return c.applyWork(op)
}

func (c *change) applyWork(op command.Op) error {
	switch op := op.(type) {
	case command.CreateBuild:
		return c.createBuild(op)
	case command.CreateDeployment:
		return c.createDeployment(op)
	case command.AdvanceDeployment:
		return c.advanceDeployment(op)
	case command.CancelDeployment:
		return c.cancelDeployment(op)
	case command.PinRelease:
		return c.pinRelease(op)
	case command.CreateTask:
		return c.createTask(op)
	case command.LeaseTask:
		return c.leaseTask(op)
	case command.StartTask:
		return c.startTask(op)
	case command.ReportTask:
		return c.reportTask(op)
	case command.FinishTask:
		return c.finishTask(op)
	case command.CancelTask:
		return c.cancelTask(op)
	case command.LoseTask:
		return c.loseTask(op)
	case command.RetryTask:
		return c.retryTask(op)
	case command.ExplainTasks:
		return c.explainTasks(op)
	case command.Prune:
		return c.prune(op)
	}
	return fmt.Errorf("there is no apply function for %T", op)
}
