package agent

import (
	"github.com/saas-gestor/gestor/agent/internal/policy"
	"github.com/saas-gestor/gestor/agent/internal/task"
)

// executors are all kinds of work this agent can do.
func (a *Agent) executors(_ policy.Policy) ([]task.Executor, error) {
	return []task.Executor{}, nil
}
