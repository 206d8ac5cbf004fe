package members

import (
	"context"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Removal is a server to take out.
type Removal struct {
	ID      gestor.ServerID
	Command []byte // a command that deletes it, in the name of who asked
	Force   bool   // although no majority of the voters that stay answers
}

// Remove has the leader take a server out, and returns the revision at which that was decided. It refuses (Conflict) what
// would leave no majority.
func (s *Service) Remove(ctx context.Context, r Removal) (uint64, error) {
	leader, err := s.leader()
	if err != nil {
		return 0, err
	}
	if leader == s.self() {
		return s.removeHere(ctx, r)
	}
	c, err := clientOf(s.o.Port, string(leader))
	if err != nil {
		return 0, unreached(err)
	}
	answer, err := c.RemoveServer(ctx, &peerv1.RemoveServerRequest{Id: string(r.ID), Command: r.Command, Force: r.Force})
	if err != nil {
		return 0, outcome(err)
	}
	return answer.GetRevision(), nil
}

// Transfer has the leader hand leadership to a voter, the most up to date one if id is empty. It returns who leads then, and
// how long nobody did.
func (s *Service) Transfer(ctx context.Context, id gestor.ServerID) (gestor.ServerID, time.Duration, error) {
	leader, err := s.leader()
	if err != nil {
		return "", 0, err
	}
	if leader == s.self() {
		return s.transferHere(ctx, id)
	}
	c, err := clientOf(s.o.Port, string(leader))
	if err != nil {
		return "", 0, unreached(err)
	}
	answer, err := c.TransferLeader(ctx, &peerv1.TransferLeaderRequest{Id: string(id)})
	if err != nil {
		return "", 0, outcome(err)
	}
	return gestor.ServerID(answer.GetLeader()), answer.GetTook().AsDuration(), nil
}

func (s *Service) leader() (gestor.ServerID, error) {
	leader := s.o.Engine.Leader()
	if leader == "" {
		return "", fault.Unavailable("no control server leads: a majority of them is missing, or is choosing one").
			WithFix("try again in a moment; `gestor servers list` tells which are there").WithRetryAfter(time.Second).
			WithCause(cluster.ErrNotLeader).WithNothingDone()
	}
	return gestor.ServerID(leader), nil
}

func (s *Service) removeHere(ctx context.Context, r Removal) (uint64, error) {
	if err := s.lead(); err != nil {
		return 0, err
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	if err := s.mayLeave(ctx, r.ID, r.Force); err != nil {
		return 0, err
	}
	receipt, err := s.o.Engine.ProposeHere(ctx, r.Command)
	return receipt.Revision, answer(err)
}

// mayLeave refuses the removal of a server without which the others could not go on.
func (s *Service) mayLeave(ctx context.Context, id gestor.ServerID, force bool) error {
	all := s.o.Engine.Members()
	stay := slices.DeleteFunc(slices.Clone(all), func(m cluster.Member) bool { return m.ID == string(id) })
	if len(stay) == len(all) {
		return nil // it replicates nothing yet
	}
	left := voters(stay)
	if len(left) == 0 {
		return s.mayLeaveAlone(ctx, stay)
	}
	if force || !slices.Contains(voters(all), id) {
		return nil
	}
	live := len(s.Statuses(ctx, left))
	if need := len(left)/2 + 1; live < need {
		return fault.Conflict("without it %d of the %d servers that vote are needed, and %d answer", need, len(left), live).
			WithFix("start the others first, or remove the ones that are gone for good; --force removes it all the same")
	}
	return nil
}

// mayLeaveAlone lets the only voter leave if there is a standby that can take over.
func (s *Service) mayLeaveAlone(ctx context.Context, stay []cluster.Member) error {
	var ids []gestor.ServerID
	for _, m := range stay {
		ids = append(ids, gestor.ServerID(m.ID))
	}
	if len(s.Statuses(ctx, ids)) > 0 {
		return nil
	}
	return fault.Conflict("it is the only server that votes, and no other one answers that could take over").
		WithFix("add another server first: gestor servers add")
}

const (
	transferLimit = 5 * time.Second // for the others to choose a leader
	transferLook  = 2 * time.Millisecond
)

func (s *Service) transferHere(ctx context.Context, id gestor.ServerID) (gestor.ServerID, time.Duration, error) {
	if err := s.lead(); err != nil {
		return "", 0, err
	}
	if id == s.self() {
		return id, 0, nil
	}
	if err := s.mayLead(id); err != nil {
		return "", 0, err
	}
	started := time.Now()
	if err := s.o.Engine.TransferLeader(string(id)); err != nil {
		return "", 0, fault.Unavailable("leadership was not handed over").WithFix("see that the other servers run, and try again").WithCause(err)
	}
	return s.nextLeader(ctx, started)
}

// mayLead refuses to hand leadership to who cannot have it.
func (s *Service) mayLead(id gestor.ServerID) error {
	able := voters(s.o.Engine.Members())
	switch {
	case id != "" && !slices.Contains(able, id):
		return fault.Conflict("server %s has no vote, so it cannot lead", id).WithFix("`gestor servers list` tells which servers vote")
	case len(able) < 2:
		return fault.Conflict("no other server votes").WithFix("a cluster whose leadership can move has three servers: gestor servers add")
	}
	return nil
}

// nextLeader waits until this server knows who leads in its place.
func (s *Service) nextLeader(ctx context.Context, since time.Time) (gestor.ServerID, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, transferLimit)
	defer cancel()
	tick := time.NewTicker(transferLook)
	defer tick.Stop()
	for {
		if now := gestor.ServerID(s.o.Engine.Leader()); now != "" && now != s.self() {
			return now, time.Since(since), nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return "", 0, fault.Unavailable("leadership was given up and nobody has taken it yet").WithFix("gestor servers list")
		}
	}
}
