package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/saas-gestor/gestor/proto/fault"
)

// server is one of several in a test.
type server struct {
	*Cluster
	id        string
	machine   *list
	transport *raft.InmemTransport
}

// crowd is servers that can reach each other, but for those that are cut off.
type crowd struct {
	t       *testing.T
	dir     string
	servers []*server

	commitTimeout time.Duration
}

// add opens a server; the first makes the installation, the others wait to be added.
func (c *crowd) add() *server {
	c.t.Helper()
	s := &server{id: fmt.Sprint("srv_", len(c.servers)+1), machine: &list{}}
	_, s.transport = raft.NewInmemTransport(raft.ServerAddress(s.id))
	for _, o := range c.servers {
		o.transport.Connect(s.transport.LocalAddr(), s.transport)
		s.transport.Connect(o.transport.LocalAddr(), o.transport)
	}
	var err error
	s.Cluster, err = Open(c.t.Context(), Options{
		Dir: filepath.Join(c.dir, s.id), ServerID: s.id, Machine: s.machine, Heartbeat: 100 * time.Millisecond,
		Transport: s.transport, Join: len(c.servers) > 0, commitTimeout: c.commitTimeout,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		if err := errors.Join(s.Close(), <-done); err != nil {
			c.t.Error(err)
		}
	})
	c.servers = append(c.servers, s)
	return s
}

// until waits for something to become true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-deadline:
			t.Fatal("not within 20 s: " + what)
		case <-tick.C:
		}
	}
}

// grown is three voters, the first of which leads.
func grown(t *testing.T) *crowd {
	t.Helper()
	return grownWith(t, 0)
}

func grownWith(t *testing.T, commitTimeout time.Duration) *crowd {
	t.Helper()
	c := &crowd{t: t, dir: t.TempDir(), commitTimeout: commitTimeout}
	first := c.add()
	until(t, "the first leads", first.leads)
	for range 2 {
		s := c.add()
		c.change(func(leader *server) error { return leader.AddStandby(s.id, s.id) })
		c.change(func(leader *server) error { return leader.Promote(s.id) })
	}
	if lead := c.leader(); lead != first {
		if err := lead.TransferLeader(first.id); err != nil {
			t.Fatal(err)
		}
		until(t, "the first leads again", first.leads)
	}
	return c
}

// change has the leader change the members; on a busy machine that may be another meanwhile.
func (c *crowd) change(do func(leader *server) error) {
	c.t.Helper()
	until(c.t, "a leader made the change", func() bool {
		err := do(c.leader())
		if err != nil && !errors.Is(err, fault.KindUnavailable) {
			c.t.Fatal(err)
		}
		return err == nil
	})
}

func (c *crowd) leader() *server {
	c.t.Helper()
	var found *server
	until(c.t, "one leads", func() bool {
		i := slices.IndexFunc(c.servers, func(s *server) bool { return s.leads() })
		if i >= 0 {
			found = c.servers[i]
		}
		return i >= 0
	})
	return found
}

func TestMembers_GrowUnderWritesWithoutLosingOne(t *testing.T) {
	c := &crowd{t: t, dir: t.TempDir()}
	first := c.add()
	until(t, "the first leads", first.leads)
	stop, wrote := make(chan struct{}), make(chan []string, 1)
	go func() {
		var done []string
		for i := 0; ; i++ {
			select {
			case <-stop:
				wrote <- done
				return
			default:
			}
			if _, err := first.Propose(t.Context(), fmt.Append(nil, i)); err == nil {
				done = append(done, fmt.Sprint(i))
			} else if fault.KindOf(err) != fault.KindUnavailable {
				t.Errorf("write %d: %v", i, err)
			}
		}
	}()
	for range 2 {
		s := c.add()
		c.change(func(leader *server) error { return leader.AddStandby(s.id, s.id) })
		if m := first.Members(); m[len(m)-1].Voter {
			t.Errorf("a new server has a vote at once: %+v", m)
		}
		c.change(func(leader *server) error { return leader.Promote(s.id) })
	}
	close(stop)
	want := <-wrote
	for _, s := range c.servers {
		until(t, s.id+" has every write", func() bool { return hasInOrder(s.machine.all(), want) })
	}
}

// hasInOrder reports whether want is in all, in its order, with others in between: writes whose outcome was not known.
func hasInOrder(all, want []string) bool {
	for _, c := range all {
		if len(want) > 0 && c == want[0] {
			want = want[1:]
		}
	}
	return len(want) == 0
}

func TestReadIndex_HoldsWhatWasWrittenAndNotRaftsOwn(t *testing.T) {
	c := grown(t)
	first := c.servers[0]
	if index, err := first.ReadIndex(t.Context()); err != nil || index != first.machine.Applied() {
		t.Fatalf("without a write: got %d, %v; applied is %d", index, err, first.machine.Applied())
	}
	if _, err := first.Propose(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	written := first.machine.Applied()
	if err := first.raft.Barrier(0).Error(); err != nil { // an entry no machine sees
		t.Fatal(err)
	}
	if index, err := first.ReadIndex(t.Context()); err != nil || index != written {
		t.Fatalf("got %d, %v, want %d", index, err, written)
	}
	if _, err := c.servers[1].ReadIndex(t.Context()); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("a follower answered %v", err)
	}
}

func TestReadIndex_IsRefusedByALeaderThatIsCutOff(t *testing.T) {
	c := grown(t)
	old := c.servers[0]
	old.transport.DisconnectAll()
	for _, s := range c.servers[1:] {
		s.transport.Disconnect(old.transport.LocalAddr())
	}
	until(t, "another leads, and writes", func() bool {
		i := slices.IndexFunc(c.servers[1:], func(s *server) bool { return s.leads() })
		if i < 0 {
			return false
		}
		_, err := c.servers[1:][i].Propose(t.Context(), []byte("newer"))
		return err == nil
	})
	// The old leader may still think that it leads: no answer may come of that.
	if index, err := old.ReadIndex(t.Context()); err == nil {
		t.Fatalf("it answered %d although a newer leader wrote", index)
	}
}

func TestTransferLeader_GoesToTheServerThatIsNamed(t *testing.T) {
	c := grown(t)
	until(t, "srv_3 takes over", func() bool { // a busy machine may not hand over within an election timeout; nothing changes then
		err := c.servers[0].TransferLeader("srv_3")
		if err != nil && fault.KindOf(err) != fault.KindUnavailable {
			t.Fatal(err)
		}
		return err == nil
	})
	if now := c.leader(); now.id != "srv_3" {
		t.Fatalf("%s leads", now.id)
	}
	if err := c.servers[2].TransferLeader("srv_9"); fault.KindOf(err) != fault.KindNotFound {
		t.Fatalf("got %v", err)
	}
}

func TestRemoveMember_LeavesAClusterThatWorks(t *testing.T) {
	c := grown(t)
	for _, id := range []string{"srv_3", "srv_2", "srv_2"} {
		c.change(func(leader *server) error {
			if leader.id == id {
				return errors.Join(leader.TransferLeader("srv_1"), notLeader()) // whom it then asks
			}
			return leader.RemoveMember(id)
		})
	}
	first := c.servers[0]
	if m := first.Members(); len(m) != 1 || m[0].ID != "srv_1" {
		t.Fatalf("got %+v", m)
	}
	c.change(func(leader *server) error {
		_, err := leader.Propose(t.Context(), []byte("alone"))
		return err
	})
}

func TestNudge_TellsFollowersWithoutWaitingForTheNextEntry(t *testing.T) {
	c := grownWith(t, time.Hour) // so long the leader would keep it to itself
	c.change(func(leader *server) error {
		_, err := leader.Propose(t.Context(), []byte("x"))
		leader.Nudge(leader.machine.Applied())
		return err
	})
	for _, s := range c.servers {
		until(t, s.id+" has applied it", func() bool { return slices.Contains(s.machine.all(), "x") })
	}
}
