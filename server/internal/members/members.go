// Package members keeps the control servers one cluster: it answers what they ask each other about the replicated state,
// takes to the leader what only it can do, tells it who this server is, and, on the leader, makes Raft's configuration
// what the servers table says.
//
// It decides who votes, not what is replicated. Guarantees: a server gets a vote only once it has caught up, and never as
// the second one of two that stay; a leader that is removed hands leadership over before it leaves; a call that was
// certainly not carried out says so, so that it may be made again.
package members

import (
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	"github.com/saas-gestor/gestor/server/internal/clock"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/engine"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

// Options are what a Service is made of. Engine, Port and Self are needed.
type Options struct {
	Engine *engine.Engine
	Port   *peer.Port
	Self   func() gestor.Server // who this server is now; Replaces, CreatedAt and Revision do not count

	Agents    func() int    // sessions held here; nil means none
	DiskFree  func() uint64 // bytes; nil means not known
	Notice    func() string // what a person should know of this server; nil means nothing
	StartedAt time.Time     // of the process
	Clock     *clock.Clock  // hears what the clocks of the others say; nil means one of its own

	Interval time.Duration // of the leader's look at its standbys; 1 s by default
	Silence  time.Duration // of leaders, after which this server asks whether it was removed; 5 s by default
	Log      *slog.Logger  // nil discards
}

// Service is this server's part in keeping the cluster together.
type Service struct {
	o        Options
	removing sync.Mutex    // held from the look whether a majority stays to the removal
	out      chan struct{} // closed when the leader says that this server was removed
	outOnce  sync.Once
}

var _ peerv1connect.ReplicationServiceHandler = (*Service)(nil)

// New makes a Service. Mount it on the peer port, hand Forwarder to the engine, RunTerm to OnTerm, and run RunAnnounce and
// RunRemoved for as long as the server does.
func New(o Options) *Service {
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Silence == 0 {
		o.Silence = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Agents == nil {
		o.Agents = func() int { return 0 }
	}
	if o.Notice == nil {
		o.Notice = func() string { return "" }
	}
	if o.DiskFree == nil {
		o.DiskFree = func() uint64 { return 0 }
	}
	if o.Clock == nil {
		o.Clock = clock.New(nil, time.Time{})
	}
	return &Service{o: o, out: make(chan struct{})}
}

// notLeader says that nothing was done, because this server does not lead.
func notLeader() error {
	return fault.Unavailable("this server does not lead the cluster").WithFix("try again").
		WithRetryAfter(100 * time.Millisecond).WithCause(cluster.ErrNotLeader).WithNothingDone()
}

// answer makes an error of a call that only the leader can carry out say whether nothing was done.
func answer(err error) error {
	if errors.Is(err, cluster.ErrNotLeader) {
		return notLeader()
	}
	return err
}

// lead refuses where this server does not lead.
func (s *Service) lead() error {
	if s.o.Engine.IsLeader() {
		return nil
	}
	return notLeader()
}

// self is this server's id.
func (s *Service) self() gestor.ServerID { return gestor.ServerID(s.o.Engine.ID()) }

// voters are the ids of the members that vote.
func voters(members []cluster.Member) []gestor.ServerID {
	var out []gestor.ServerID
	for _, m := range members {
		if m.Voter {
			out = append(out, gestor.ServerID(m.ID))
		}
	}
	return out
}
