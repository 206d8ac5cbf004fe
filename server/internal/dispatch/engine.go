package dispatch

import (
	"context"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what this package needs of replication and state; *engine.Engine has it.
type Engine interface {
	// Propose commits a command; a refusal by the state machine is a *fault.Error.
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	// ProposeHere commits a command in its wire form if this server leads, and refuses it if not.
	ProposeHere(ctx context.Context, data []byte) (command.Receipt, error)
	// Wait returns once this server has applied a revision.
	Wait(ctx context.Context, revision uint64) error
	// View reads what a scope may see.
	View(s gestor.Scope) *state.View
	// Watch is signalled after commits that touched a table.
	Watch(tables ...state.Table) *state.Subscription
}
