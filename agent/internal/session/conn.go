package session

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/agent/internal/logs"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
)

const (
	helloTimeout     = 15 * time.Second
	defaultHeartbeat = 5 * time.Second
	leastHeartbeat   = 100 * time.Millisecond
	mostHeartbeat    = time.Minute
	outboxSize       = 64
)

type controlStream = connect.BidiStreamForClientSimple[agentv1.SessionRequest, agentv1.SessionResponse]

// conn is one session.
type conn struct {
	s       *Session
	address string // of the server
	stream  *controlStream
	link    agentv1connect.AgentServiceClient
	outbox  chan *agentv1.SessionRequest // what is of this session only
}

// once opens a session and keeps it until it ends; the error says why.
func (s *Session) once(ctx context.Context, address string) error {
	client, err := s.o.Client(address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	link := agentv1connect.NewAgentServiceClient(client.HTTP, client.URL, client.Options()...)
	stream, err := link.Session(ctx)
	if err != nil {
		return err
	}
	// HTTP/2 looks at the context only between pieces of the request's body, so the body has to end, too.
	stop := context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	defer stop()
	defer func() { _ = stream.CloseResponse() }()
	defer func() { // before CloseResponse, which would wait for the server
		cancel(nil)
		_ = stream.CloseRequest()
	}()
	c := &conn{s: s, address: address, stream: stream, link: link, outbox: make(chan *agentv1.SessionRequest, outboxSize)}
	welcome, err := c.hello(ctx, cancel)
	if err != nil {
		return err
	}
	s.o.Log.Info("session opened", "server", address, "version", welcome.GetVersion())
	s.learn(address, welcome.GetServers())
	s.setLink(link)
	defer s.dropLink()
	defer s.o.Logs.CloseTails()
	return c.run(ctx, cancel, welcome)
}

// learn takes over where the servers are. The one that was reached stays among them, whatever name it gives itself: the way
// to it is known to work.
func (s *Session) learn(address string, servers []string) {
	if len(servers) == 0 || s.o.Learn == nil {
		return
	}
	if !slices.Contains(servers, address) {
		servers = append(slices.Clone(servers), address)
	}
	s.o.Learn(servers)
}

// hello says who this is and waits for the answer.
func (c *conn) hello(ctx context.Context, cancel context.CancelCauseFunc) (*agentv1.ServerHello, error) {
	timer := time.AfterFunc(helloTimeout, func() { cancel(fault.Timeout("the server did not say hello")) })
	defer timer.Stop()
	o := c.s.o
	number, fence := c.s.open()
	err := c.stream.Send(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Hello{Hello: &agentv1.AgentHello{
		Version: o.Version, BootId: o.BootID, Facts: o.Facts(ctx), Tasks: c.s.tasks.Held(),
		Revision: fence, Session: number,
	}}})
	if err != nil && !errors.Is(err, io.EOF) { // after EOF, Receive has the reason
		return nil, err
	}
	m, err := c.receive()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	if m.GetHello() == nil {
		return nil, fmt.Errorf("the server began with %T instead of a hello", m.GetMessage())
	}
	return m.GetHello(), nil
}

func (c *conn) receive() (*agentv1.SessionResponse, error) {
	m, err := c.stream.Receive()
	if errors.Is(err, io.EOF) {
		return nil, fault.Unavailable("the server ended the session")
	}
	return m, err
}

// run ends when one of its parts does; cancel then ends the stream, and with it the others.
func (c *conn) run(ctx context.Context, cancel context.CancelCauseFunc, welcome *agentv1.ServerHello) error {
	c.s.tasks.Resync()
	var group errgroup.Group
	part := func(f func() error) {
		group.Go(func() error {
			err := f()
			cancel(err)
			return err
		})
	}
	part(c.listen)
	part(func() error { return c.speak(ctx, heartbeatOf(welcome)) })
	part(func() error { return c.pushLogs(ctx) })
	return group.Wait()
}

func heartbeatOf(welcome *agentv1.ServerHello) time.Duration {
	if d := welcome.GetHeartbeat().AsDuration(); d > 0 {
		return min(max(d, leastHeartbeat), mostHeartbeat)
	}
	return defaultHeartbeat
}

func (c *conn) listen() error {
	for {
		m, err := c.receive()
		if err != nil {
			return err
		}
		if err := c.handle(m); err != nil {
			return err
		}
	}
}

func (c *conn) handle(m *agentv1.SessionResponse) error {
	tasks := c.s.tasks
	switch m := m.GetMessage().(type) {
	case *agentv1.SessionResponse_Hello: // again: the servers have changed
		c.s.learn(c.address, m.Hello.GetServers())
	case *agentv1.SessionResponse_Assign:
		c.s.saw(m.Assign.GetTask().GetFence())
		tasks.Assign(m.Assign)
	case *agentv1.SessionResponse_Cancel:
		tasks.Cancel(m.Cancel)
	case *agentv1.SessionResponse_Acknowledged:
		tasks.Acknowledge(m.Acknowledged)
	case *agentv1.SessionResponse_OpenTail:
		c.openTail(m.OpenTail)
	case *agentv1.SessionResponse_CloseTail:
		c.s.o.Logs.CloseTail(m.CloseTail.GetLogId())
	case *agentv1.SessionResponse_Goodbye:
		return &goodbyeError{retryAfter: min(m.Goodbye.GetRetryAfter().AsDuration(), mostHeartbeat), reason: m.Goodbye.GetReason()}
	}
	return nil // or something a newer server says
}

// speak is the only sender on the stream.
func (c *conn) speak(ctx context.Context, every time.Duration) error {
	beat := time.NewTicker(every)
	defer beat.Stop()
	if err := c.heartbeat(); err != nil {
		return c.heed(ctx, err)
	}
	for {
		var err error
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case m := <-c.outbox:
			err = c.send(m)
		case <-c.s.tasks.Changed():
			err = c.sendPending()
		case <-beat.C:
			err = c.heartbeat()
		}
		if err != nil {
			return c.heed(ctx, err)
		}
	}
}

func (c *conn) heartbeat() error {
	err := c.send(&agentv1.SessionRequest{Message: &agentv1.SessionRequest_Heartbeat{Heartbeat: &agentv1.Heartbeat{
		Tasks: c.s.tasks.Held(), Load: c.s.o.Sample(c.s.tasks.Busy()),
	}}})
	if err != nil {
		return err
	}
	return c.sendPending()
}

func (c *conn) sendPending() error {
	for _, m := range c.s.tasks.Pending() {
		if err := c.send(m); err != nil {
			return err
		}
	}
	return nil
}

// errEnded is the error of a send on a stream that the server has ended.
var errEnded = fault.Unavailable("the server ended the session")

// send leaves the reason of a stream the server has ended to the listener.
func (c *conn) send(m *agentv1.SessionRequest) error {
	err := c.stream.Send(m)
	if errors.Is(err, io.EOF) {
		return errEnded
	}
	return err
}

// heed gives the listener time to hear why the server has ended the stream: perhaps with a goodbye that tells how long to
// stay away.
func (c *conn) heed(ctx context.Context, err error) error {
	if errors.Is(err, errEnded) {
		pause(ctx, helloTimeout)
	}
	return cmp.Or(context.Cause(ctx), err)
}

func (c *conn) openTail(t *agentv1.OpenTail) {
	over := func(err error) {
		ended := &agentv1.TailEnded{LogId: t.GetLogId()}
		if err != nil {
			ended.Error = err.Error()
		}
		select {
		case c.outbox <- &agentv1.SessionRequest{Message: &agentv1.SessionRequest_TailEnded{TailEnded: ended}}:
		default: // the end of the log, pushed before, says enough
		}
	}
	dir, err := c.s.o.AppDir(t.GetSlug())
	if err == nil {
		err = c.s.o.Logs.OpenTail(logs.TailRequest{
			ID: t.GetLogId(), Root: dir, Last: int(t.GetLast()), Follow: t.GetFollow(),
		}, over)
	}
	if err != nil {
		over(err)
	}
}

// pushLogs does not end the session when a log stream breaks: the spool keeps the lines.
func (c *conn) pushLogs(ctx context.Context) error {
	for tries := 1; ctx.Err() == nil; tries++ {
		began := time.Now()
		err := c.s.o.Logs.Push(ctx, func(ctx context.Context) (logs.Stream, error) { return c.link.PushLogs(ctx) })
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) > steady {
			tries = 1
		}
		c.s.o.Log.Debug("log stream broke", "err", err)
		pause(ctx, delay(err, tries, 1))
	}
	return context.Cause(ctx)
}
