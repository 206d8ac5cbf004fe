package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// affliction is something that happens to servers: it begins, holds while the traffic goes on, and ends with all servers
// back.
type affliction struct {
	name string
	run  func(*suffering)
}

// suffering is an affliction under way.
type suffering struct {
	*world
	tr *traffic
}

// afflictions are all there are. Each leaves the servers whole and caught up.
var afflictions = []affliction{
	{"kill -9 of the leader", func(s *suffering) { s.killed(s.leader()) }},
	{"kill -9 of a follower", func(s *suffering) { s.killed(s.follower()) }},
	{"the leader is cut off from the other servers", func(s *suffering) {
		leader := s.leader()
		s.must(s.Isolate(s.ctx(), leader))
		s.replaced(leader)
		s.tr.goesOn(5)
		s.healed()
	}},
	{"one follower hears nothing of the leader", func(s *suffering) {
		leader := s.leader()
		s.must(s.CutOneWay(s.ctx(), leader, s.Others(leader)[0]))
		s.tr.goesOn(8)
		s.healed()
	}},
	{"the leader hears nothing of one follower", func(s *suffering) {
		leader := s.leader()
		s.must(s.CutOneWay(s.ctx(), s.Others(leader)[0], leader))
		s.tr.goesOn(8)
		s.healed()
	}},
	{"the leader is heard by nobody, and hears all", func(s *suffering) {
		leader := s.leader()
		for _, other := range s.Others(leader) {
			s.must(s.CutOneWay(s.ctx(), leader, other))
		}
		s.replaced(leader)
		s.tr.goesOn(5)
		s.healed()
	}},
	{"agents and people do not reach the leader", func(s *suffering) {
		s.must(s.CutAgents(s.ctx(), s.leader()))
		s.tr.goesOn(5)
		s.healed()
	}},
	{"the leader is stopped for five seconds", func(s *suffering) {
		leader := s.leader()
		s.must(leader.Pause())
		until := time.After(5 * time.Second) // what is tested is a pause of that length
		s.replaced(leader)
		s.tr.goesOn(3)
		<-until
		s.must(leader.Resume())
		s.must(s.WaitServers(s.ctx()))
	}},
	{"the disk of a follower is full", func(s *suffering) {
		follower := s.follower()
		s.must(follower.Disk.Fill())
		s.tr.goesOn(40)
		s.emptied(follower)
	}},
	{"the disk of the leader is full", func(s *suffering) {
		leader := s.leader()
		s.must(leader.Disk.Fill())
		s.replaced(leader) // it hands over to one with room
		s.tr.goesOn(40)
		s.emptied(leader)
	}},
	{"the disk of a follower is slow", func(s *suffering) { s.slow(s.follower()) }},
	{"the disk of the leader is slow", func(s *suffering) { s.slow(s.leader()) }},
	{"the disk of the leader hangs", func(s *suffering) {
		leader := s.leader()
		leader.Disk.Hang()
		s.replaced(leader) // while it hangs: it gives itself up, or nobody else would ever lead
		s.tr.goesOn(5)
		s.must(leader.Disk.Repair())
		s.back(leader)
	}},
	{"all servers are killed at once", func(s *suffering) {
		for _, server := range s.Servers {
			s.must(server.Signal(9))
		}
		s.back(s.Servers...)
		s.tr.goesOn(5)
	}},
}

func (s *suffering) ctx() context.Context { return s.t.Context() }

func (s *suffering) must(err error) {
	s.t.Helper()
	must(s.t, err)
}

func (s *suffering) leader() *stack.Server {
	s.t.Helper()
	leader, err := s.Leader(s.ctx())
	s.must(err)
	return leader
}

func (s *suffering) follower() *stack.Server {
	s.t.Helper()
	return s.Others(s.leader())[0]
}

// replaced waits until the others have another leader. How long that takes is seen by the longest wait for a write, which
// is printed at the end.
func (s *suffering) replaced(leader *stack.Server) {
	s.t.Helper()
	_, err := s.LeaderAmong(s.ctx(), s.Others(leader)...)
	s.must(err)
}

// back waits until servers' processes are gone, and starts them again.
func (s *suffering) back(servers ...*stack.Server) {
	s.t.Helper()
	for _, server := range servers {
		server.Kill()
	}
	for _, server := range servers {
		s.must(server.Start())
	}
	s.must(s.WaitServers(s.ctx()))
}

func (s *suffering) killed(server *stack.Server) {
	s.t.Helper()
	server.Kill()
	s.tr.goesOn(5)
	s.must(server.Start())
	s.must(s.WaitServers(s.ctx()))
}

func (s *suffering) healed() {
	s.t.Helper()
	s.must(s.Heal(s.ctx()))
	s.must(s.WaitServers(s.ctx()))
}

// emptied makes room again. A server that could not go on without room starts again.
func (s *suffering) emptied(server *stack.Server) {
	s.t.Helper()
	s.must(server.Disk.Repair())
	caughtUp := make(chan error, 1)
	go func() { caughtUp <- s.WaitServers(s.ctx()) }()
	for {
		select {
		case err := <-caughtUp:
			s.must(err)
			return
		case <-server.Done(): // also of what it met before there was room; its unit would start it again
			s.must(server.Start())
		}
	}
}

func (s *suffering) slow(server *stack.Server) {
	s.t.Helper()
	server.Disk.Slow(100 * time.Millisecond)
	s.tr.goesOn(10)
	s.must(server.Disk.Repair())
	s.must(s.WaitServers(s.ctx()))
}

// suffer lets an affliction happen and says how it went.
func (tr *traffic) suffer(a affliction) {
	tr.w.t.Helper()
	tr.during(a.name)
	began := time.Now()
	a.run(&suffering{world: tr.w, tr: tr})
	tr.w.t.Logf("%s: %v", a.name, time.Since(began).Round(10*time.Millisecond))
	tr.during("after: " + a.name)
}

// With GESTOR_SOAK=30m in the environment the afflictions come at random for so long, which is `make soak`; otherwise each
// comes once. GESTOR_SEED repeats the order of a run.
func TestServers_NothingIsLostRepeatedOrStuckWhateverHappensToThem(t *testing.T) {
	w := startWith(t, stack.Options{Servers: 3, Agents: 3, Disks: true})
	tr := newTraffic(w)
	tr.start()
	tr.goesOn(3)
	soak := os.Getenv("GESTOR_SOAK")
	if soak == "" {
		for _, a := range afflictions {
			tr.suffer(a)
		}
		tr.settle()
		return
	}
	long, err := time.ParseDuration(soak)
	must(t, err)
	tr.soak(long, seed(t))
	tr.settle()
}

func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("GESTOR_SEED")
	if text == "" {
		return rand.Uint64()
	}
	n, err := strconv.ParseUint(text, 10, 64)
	must(t, err)
	return n
}

// soak lets afflictions happen at random and prints a table of them.
func (tr *traffic) soak(long time.Duration, seed uint64) {
	fmt.Printf("soak: %v with GESTOR_SEED=%d\n", long, seed) // it must be seen while the test runs, and if it hangs
	random := rand.New(rand.NewPCG(seed, 0))
	times, spent := map[string]int{}, map[string]time.Duration{}
	for end := time.Now().Add(long); time.Now().Before(end) && !tr.w.t.Failed(); {
		a := afflictions[random.IntN(len(afflictions))]
		began := time.Now()
		fmt.Println(began.Format("15:04:05"), a.name)
		tr.suffer(a)
		times[a.name]++
		spent[a.name] += time.Since(began)
	}
	var table strings.Builder
	fmt.Fprintf(&table, "%-48s %6s %10s\n", "what happened", "times", "each took")
	for _, a := range afflictions {
		if n := times[a.name]; n > 0 {
			fmt.Fprintf(&table, "%-48s %6d %10v\n", a.name, n, (spent[a.name] / time.Duration(n)).Round(10*time.Millisecond))
		}
	}
	tr.w.t.Logf("seed %d\n%s", seed, table.String())
}

// The single server must not go on with a disk that does not answer, and must come back whole.
func TestServers_AStuckDiskEndsAServerAndItComesBackWhole(t *testing.T) {
	w := startWith(t, stack.Options{Network: true, Disks: true})
	r := w.repo("site", map[string]string{"index.html": "one"})
	url := w.create("site", r, 1)
	w.cli("deploy", "site")
	server := w.Servers[0]
	server.Disk.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	write := make(chan struct{})
	go func() {
		_, _ = w.CLI(ctx, "apps", "set", "site", "--name", "lost or not") // nobody answers it
		close(write)
	}()
	w.until("the server to end", func() bool { return ending(server.Pid()) })
	cancel()
	<-write
	must(t, server.Disk.Repair())
	<-server.Done()
	must(t, server.Start())
	must(t, w.WaitConnected(t.Context()))
	w.commit(r, "index.html", "two")
	w.cli("deploy", "site")
	w.serves(url, "two")
}

// ending reports whether a process has exited, even if threads of it wait for a disk still.
func ending(pid int) bool {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, os.ErrNotExist) {
		return true
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return strings.HasPrefix(rest, "Z")
}
