// Package session holds this host's connection to the control servers.
//
// One control stream at a time, to one of the servers: hello, heartbeats, assignments in, results out. Logs and blobs
// travel on streams of their own over the same connection. When the connection breaks the session looks for a server
// again, with back-off and jitter, for ever. What tasks are and how logs are kept is not its business.
//
// Guarantees: nothing the host does depends on a connection; everything the server must know is told again after a
// reconnect; memory does not grow while no server can be reached.
package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/logs"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const (
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	backoffShut  = time.Minute      // when the servers refuse this node
	steady       = 10 * time.Second // a session that lasted so long starts the back-off anew
	remindEvery  = time.Minute      // how often the same trouble is logged
)

// Tasks is what the session carries messages for. Package task has it.
type Tasks interface {
	Assign(a *agentv1.Assignment)
	Cancel(c *agentv1.CancelTask)
	Acknowledge(a *agentv1.TaskAcknowledged)
	Held() []*agentv1.HeldTask
	Busy() int
	Resync()
	Pending() []*agentv1.SessionRequest
	Changed() <-chan struct{}
}

// Options are what a session needs.
type Options struct {
	Servers func() []string        // addresses, host:port
	Learn   func(servers []string) // takes over where the servers are now
	Starts  uint64                 // of the agent on this host, this one included; 0 if nobody counts
	Client  func(address string) (*rpc.Client, error)
	Logs    *logs.Store
	Facts   func(ctx context.Context) *gestorv1.NodeFacts
	Sample  func(tasks int) *gestorv1.NodeLoad // the host's load, with the number of tasks under way
	AppDir  func(slug string) (string, error)  // the folder of an app
	Version string
	BootID  string
	Log     *slog.Logger
}

// Session is the agent's side of the control stream.
type Session struct {
	o     Options
	tasks Tasks

	mu      sync.Mutex // guards everything below
	link    agentv1connect.AgentServiceClient
	linked  chan struct{} // closed while there is a link
	trouble string        // what was logged last
	told    time.Time
	fence   uint64 // the highest that a server has told
	opened  uint64 // sessions, or attempts at one
}

// New returns a session. Serve tells it whose messages to carry; Run connects it.
func New(o Options) *Session { return &Session{o: o, linked: make(chan struct{})} }

// Serve sets the tasks, before Run. It is apart from New because tasks are carried out with the session's Blobs.
func (s *Session) Serve(t Tasks) { s.tasks = t }

// Run keeps a session open until ctx ends, with a server picked at random. When it ends, for whatever reason, the next one
// is tried.
func (s *Session) Run(ctx context.Context) error {
	var tries int
	var round round
	for ctx.Err() == nil {
		servers := s.o.Servers()
		var err error
		began := time.Now()
		if len(servers) == 0 {
			err = errors.New("no server is known: name one in the configuration")
		} else {
			err = s.once(ctx, round.next(servers))
		}
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the end was asked for
		}
		if time.Since(began) > steady {
			tries = 0
		}
		s.complain(err)
		tries++
		pause(ctx, delay(err, tries, len(servers)))
	}
	return nil
}

// round is the servers in an order of this agent's own, so that the agents of a server that is gone spread over all others.
type round struct {
	order []string
	last  int // index of the one that was tried last
}

// next returns the server to try, of those that are known now.
func (r *round) next(servers []string) string {
	var last string
	if len(r.order) > 0 {
		last = r.order[r.last]
	}
	r.order = slices.DeleteFunc(r.order, func(s string) bool { return !slices.Contains(servers, s) })
	for _, s := range servers {
		if !slices.Contains(r.order, s) {
			r.order = slices.Insert(r.order, rand.N(len(r.order)+1), s) //nolint:gosec // a choice, not a secret
		}
	}
	r.last = (slices.Index(r.order, last) + 1) % len(r.order) // the first of all if the last is not known any more
	return r.order[r.last]
}

// delay is how long to wait before attempt number tries: full jitter over a bound that doubles with each round over the
// servers, or what a server asked for.
func delay(err error, tries, servers int) time.Duration {
	if bye, ok := errors.AsType[*goodbyeError](err); ok && bye.retryAfter > 0 {
		return bye.retryAfter/2 + rand.N(bye.retryAfter) //nolint:gosec // jitter
	}
	most := backoffMost
	if errors.Is(err, fault.KindDenied) || errors.Is(err, fault.KindUnauthenticated) {
		most = backoffShut
	}
	rounds := min((tries-1)/max(servers, 1), 20)
	return rand.N(min(backoffFirst<<rounds, most)) + time.Millisecond //nolint:gosec // jitter
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// complain logs why there is no session, the same reason once a minute.
func (s *Session) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprint(err)
	if text == s.trouble && time.Since(s.told) < remindEvery {
		return
	}
	s.trouble, s.told = text, time.Now()
	s.o.Log.Warn("no session with a server", "err", err)
}

func (s *Session) setLink(link agentv1connect.AgentServiceClient) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.trouble = link, ""
	close(s.linked)
}

func (s *Session) dropLink() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, s.linked = nil, make(chan struct{})
}

// Connected tells whether there is a session now.
func (s *Session) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.link != nil
}

// waitLink waits until there is a session.
func (s *Session) waitLink(ctx context.Context) (agentv1connect.AgentServiceClient, error) {
	for {
		s.mu.Lock()
		link, linked := s.link, s.linked
		s.mu.Unlock()
		if link != nil {
			return link, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("no server in reach: %w", context.Cause(ctx))
		case <-linked:
		}
	}
}

// saw remembers the highest fence, which the next server must know before it judges what this host does.
func (s *Session) saw(fence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fence = max(s.fence, fence)
}

// open counts a session and returns its number and the highest fence so far.
func (s *Session) open() (number, fence uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opened++
	if s.o.Starts == 0 {
		return 0, s.fence
	}
	return s.o.Starts<<32 | s.opened, s.fence
}

type goodbyeError struct {
	retryAfter time.Duration
	reason     string
}

func (e *goodbyeError) Error() string { return "the server closed the session: " + e.reason }
