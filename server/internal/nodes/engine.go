package nodes

import (
	"context"
	"time"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what this package needs of replication and state; *engine.Engine has it.
type Engine interface {
	Replication
	Replica
}

// Replication commits commands and knows who leads.
type Replication interface {
	// Propose commits a command on whichever server leads; a refusal by the state machine is a *fault.Error.
	Propose(ctx context.Context, c command.Command) (command.Receipt, error)
	// ProposeHere commits a command in its wire form if this server leads, and refuses it if not.
	ProposeHere(ctx context.Context, data []byte) (command.Receipt, error)
	// ID is this server's.
	ID() string
	// Leader is the server that leads, as far as this one knows; empty if there is none.
	Leader() string
	// LastContact is when this server last heard of a leader; now if it leads.
	LastContact() time.Time
}

// Replica is this server's copy of the state.
type Replica interface {
	// Wait returns once this server has applied a revision.
	Wait(ctx context.Context, revision uint64) error
	// Barrier returns once this server has applied everything that was committed before the call.
	Barrier(ctx context.Context) error
	// View reads what a scope may see.
	View(s gestor.Scope) *state.View
	// Watch is signalled after commits that touched a table.
	Watch(tables ...state.Table) *state.Subscription
}
