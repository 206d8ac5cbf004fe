// Package mirror keeps the logs of tasks and the artifacts on all control servers: beside Raft, because they are big.
//
// The server that gets lines from an agent stores them, sends them to the others and says so once a majority has them;
// artifacts alike. What another server missed meanwhile it is sent when it answers again, and besides every server
// looks for what it lacks when it starts and every few minutes. Each server has a queue of its own, so that one that is
// slow or dead delays nobody. What the logs and artifacts say, and who may see them, is not this package's business.
//
// Guarantees: what was acknowledged is stored by a majority of the voters, so that the loss of any one server loses
// none of it. What a server has of one attempt's log has no hole. Lines may be on one server and not be acknowledged:
// the agent sends those again. Standbys get everything and count for nothing.
package mirror

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/cluster"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/peer"
)

// Peers are the other servers; *peer.Port has them.
type Peers interface {
	// Others are the other members, voters or not.
	Others() []cluster.Member
	// Votes reports whether this server counts in Majority.
	Votes() bool
	// Majority is how many voters must have something before it is acknowledged.
	Majority() int
	// Client reaches a member.
	Client(id string) (*peer.Client, error)
}

// Options are what a Mirror is made of.
type Options struct {
	Peers     Peers // nil for a server without others
	History   *history.Store
	Blobs     *blob.Store
	Catalogue Catalogue     // nil looks for nothing that is missing
	Every     time.Duration // between looks for what is missing; 5 min
	Log       *slog.Logger  // nil discards
}

// Mirror is this server's part of it. It copies while Run runs.
type Mirror struct {
	o       Options
	log     *slog.Logger
	sweeps  chan time.Time // since when something may be missing
	fetches singleflight.Group

	// work is of copies that go on when their callers have what they want; it ends with Run.
	work    context.Context //nolint:containedctx // lives as long as Run
	stop    context.CancelFunc
	copying sync.WaitGroup

	mu     sync.Mutex
	roster roster           // guarded by mu
	links  map[string]*link // guarded by mu; by server
	marks  map[key]*mark    // guarded by mu
}

// key is one attempt's log.
type key struct{ log, source string }

// roster is the membership as of a moment ago.
type roster struct {
	others []cluster.Member
	votes  bool
	need   int
}

const (
	rosterEvery = 250 * time.Millisecond
	markIdle    = 10 * time.Minute
)

// New makes a Mirror.
func New(o Options) *Mirror {
	if o.Every <= 0 {
		o.Every = 5 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mirror{
		o: o, log: o.Log.With("component", "mirror"), sweeps: make(chan time.Time, 1),
		roster: roster{votes: true, need: 1}, links: map[string]*link{}, marks: map[key]*mark{},
	}
	m.work, m.stop = context.WithCancel(context.Background())
	if o.Peers != nil {
		m.roster = m.members()
	}
	return m
}

// Run copies until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	defer m.copying.Wait()
	defer m.stop()
	if m.o.Peers == nil {
		<-ctx.Done()
		return nil
	}
	defer m.unlink()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.keepRoster(ctx) })
	g.Go(func() error { return m.keepWhole(ctx) })
	if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (m *Mirror) members() roster {
	return roster{others: m.o.Peers.Others(), votes: m.o.Peers.Votes(), need: m.o.Peers.Majority()}
}

// keepRoster follows the membership.
func (m *Mirror) keepRoster(ctx context.Context) error {
	tick, tidy := time.NewTicker(rosterEvery), time.NewTicker(time.Minute)
	defer tick.Stop()
	defer tidy.Stop()
	for {
		m.adopt(ctx, m.members())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-tidy.C:
			m.forget()
		}
	}
}

// adopt makes links to new members and ends those to members that left.
func (m *Mirror) adopt(ctx context.Context, r roster) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roster = r
	here := map[string]bool{}
	for _, o := range r.others {
		here[o.ID] = true
		if m.links[o.ID] == nil {
			l := newLink(ctx, m, o.ID)
			m.links[o.ID] = l
			for k := range m.marks { // what came before the link
				l.behind(k)
			}
		}
	}
	for id, l := range m.links {
		if !here[id] {
			delete(m.links, id)
			l.cancel() // its goroutines end by themselves; Run waits for them
		}
	}
}

// unlink ends all links.
func (m *Mirror) unlink() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, l := range m.links {
		delete(m.links, id)
		l.cancel()
	}
}

func (m *Mirror) known() roster {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.roster
}

// reachable are the links to servers that answer.
func (m *Mirror) reachable() []*link {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*link
	for _, l := range m.links {
		if !l.isDown() {
			out = append(out, l)
		}
	}
	return out
}

// Backlog is what waits for another server.
type Backlog struct {
	Logs    int  // logs with lines it does not have yet
	Bytes   int  // of lines that wait in memory; the rest are in the logs' files
	Answers bool // it can be reached
}

// Backlogs are what waits, by server.
func (m *Mirror) Backlogs() map[string]Backlog {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]Backlog{}
	for id, l := range m.links {
		l.mu.Lock()
		out[id] = Backlog{Logs: len(l.queues), Bytes: l.bytes, Answers: !l.down}
		l.mu.Unlock()
	}
	return out
}

// tally counts voters that have something, against what is needed.
type tally struct {
	roster roster
	have   int
}

func (m *Mirror) newTally() *tally {
	t := &tally{roster: m.known()}
	if t.roster.votes {
		t.have = 1
	}
	return t
}

func (t *tally) add(server string) {
	for _, o := range t.roster.others {
		if o.ID == server && o.Voter {
			t.have++
		}
	}
}

func (t *tally) enough() bool { return t.have >= t.roster.need }
