package server

import (
	"time"

	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/nodes"
)

// Tuning is how long things take that nobody wants to wait for in a test. Zeros are the defaults.
type Tuning struct {
	Nodes    nodes.Times    // heartbeats, and when a silent node is suspect and lost
	Dispatch dispatch.Times // leases

	Keys  time.Duration // between looks at the key ring
	Alarm time.Duration // between looks at what nobody writes down

	Telegram string // where the bots of Telegram are

	SnapshotAfter uint64 // entries of the log between snapshots

	Now func() time.Time // what the clock of the server's machine says; time.Now if nil
}
