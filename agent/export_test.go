package agent

import "github.com/saas-gestor/gestor/agent/internal/process"

// Sandbox is where builds and hooks run.
func (a *Agent) Sandbox() process.Sandbox { return a.host.Sandbox() }
