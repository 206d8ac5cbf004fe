package servertest

import (
	"context"
	"errors"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Effect is what a task did to a host, once: one run of its work.
type Effect struct {
	Node, Task, Resource string
	Attempt              int32
	Fence                uint64
	Began, Ended         time.Time // Ended is zero while it goes on
}

// Job is a task in the journal of a FakeAgent.
type Job struct {
	Spec    *agentv1.TaskSpec
	Secrets *agentv1.Secrets

	agent      *FakeAgent
	cancel     context.CancelFunc
	done       chan struct{}         // closed when its work has ended
	finished   *agentv1.TaskFinished // nil while it runs
	startSent  bool
	finishSent bool
	refused    bool // not in the journal; told once
	lines      []*gestorv1.LogLine
	acked      uint64
	whole      bool // the log has its last line
	stored     bool // and the server has it
}

// Succeed is work that does nothing, well.
func Succeed(context.Context, *Job) *agentv1.TaskFinished {
	return &agentv1.TaskFinished{Outcome: agentv1.Outcome_OUTCOME_SUCCEEDED}
}

// Hang is work that goes on until it is cancelled.
func Hang(ctx context.Context, _ *Job) *agentv1.TaskFinished {
	<-ctx.Done()
	return &agentv1.TaskFinished{Outcome: agentv1.Outcome_OUTCOME_CANCELLED, Error: "cancelled"}
}

// Take is work that takes a time and then succeeds.
func Take(d time.Duration) Work {
	return func(ctx context.Context, j *Job) *agentv1.TaskFinished {
		select {
		case <-ctx.Done():
			return Hang(ctx, j)
		case <-time.After(d):
			return Succeed(ctx, j)
		}
	}
}

// Log writes a line of the task's log.
func (j *Job) Log(text string) {
	j.agent.mu.Lock()
	defer j.agent.mu.Unlock()
	j.lines = append(j.lines, &gestorv1.LogLine{Seq: uint64(len(j.lines) + 1), Stream: gestorv1.LogStream_LOG_STREAM_STDOUT, Text: text})
}

// Effects are what the agent's tasks did, in order.
func (a *FakeAgent) Effects() []Effect {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Effect, len(a.effects))
	for i, e := range a.effects {
		out[i] = *e
	}
	return out
}

// take does what a server said.
func (a *FakeAgent) take(m *agentv1.SessionResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.signal()
	switch m := m.GetMessage().(type) {
	case *agentv1.SessionResponse_Assign:
		a.assign(m.Assign)
	case *agentv1.SessionResponse_Cancel:
		if j := a.jobs[m.Cancel.GetTaskId()]; j != nil && j.Spec.GetFence() == m.Cancel.GetFence() && j.cancel != nil {
			j.cancel()
		}
	case *agentv1.SessionResponse_Acknowledged:
		if j := a.jobs[m.Acknowledged.GetTaskId()]; j != nil && j.Spec.GetFence() == m.Acknowledged.GetFence() && j.finished != nil {
			a.forget(m.Acknowledged.GetTaskId(), j)
		}
	}
}

// forget drops a job whose result is committed; its log may have to stay. a.mu is held.
func (a *FakeAgent) forget(id string, j *Job) {
	delete(a.jobs, id)
	if !j.stored && !j.refused {
		a.spooled = append(a.spooled, j)
	}
}

// assign begins a task, unless the journal has it or a newer one for its resource. a.mu is held.
func (a *FakeAgent) assign(m *agentv1.Assignment) {
	spec := m.GetTask()
	old := a.jobs[spec.GetId()]
	switch {
	case old != nil && old.Spec.GetFence() == spec.GetFence():
		old.startSent, old.finishSent = false, false
		return
	case spec.GetFence() <= a.fences[spec.GetResource()]:
		if old == nil {
			a.jobs[spec.GetId()] = &Job{Spec: spec, agent: a, refused: true, finished: &agentv1.TaskFinished{
				TaskId: spec.GetId(), Fence: spec.GetFence(), Outcome: agentv1.Outcome_OUTCOME_FAILED, Error: "a newer assignment was seen",
			}}
		}
		return
	case old != nil && old.cancel != nil:
		old.cancel()
	}
	before := a.busy[spec.GetResource()]
	a.fences[spec.GetResource()] = spec.GetFence()
	ctx, cancel := context.WithCancel(context.Background())
	j := &Job{Spec: spec, Secrets: m.GetSecrets(), agent: a, cancel: cancel, done: make(chan struct{})}
	a.jobs[spec.GetId()], a.busy[spec.GetResource()] = j, j
	go a.do(ctx, j, before)
}

// do runs the work of a job, once what was begun on its resource before has ended. What it ended with is told until it
// is acknowledged.
func (a *FakeAgent) do(ctx context.Context, j, before *Job) {
	defer j.cancel()
	defer close(j.done)
	if before != nil {
		<-before.done
	}
	e := &Effect{
		Node: a.ID, Task: j.Spec.GetId(), Resource: j.Spec.GetResource(), Attempt: j.Spec.GetAttempt(), Fence: j.Spec.GetFence(), Began: time.Now(),
	}
	a.mu.Lock()
	a.effects = append(a.effects, e)
	a.mu.Unlock()
	f := a.work(ctx, j)
	f.TaskId, f.Fence = j.Spec.GetId(), j.Spec.GetFence()
	a.mu.Lock()
	defer a.mu.Unlock()
	e.Ended = time.Now()
	j.finished, j.whole = f, true
	a.signal()
}

// pending is what the servers have not been told in this session.
func (a *FakeAgent) pending() []*agentv1.SessionRequest {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*agentv1.SessionRequest
	for id, j := range a.jobs {
		if !j.startSent && !j.refused {
			j.startSent = true
			out = append(out, &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Started{Started: &agentv1.TaskStarted{
				TaskId: id, Fence: j.Spec.GetFence(),
			}}})
		}
		if j.finished != nil && !j.finishSent {
			j.finishSent = true
			out = append(out, &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Finished{Finished: j.finished}})
		}
	}
	return out
}

// pushLogs sends what is logged until ctx or the session ends.
func (a *FakeAgent) pushLogs(ctx context.Context, service agentv1connect.AgentServiceClient) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if a.nextLines() == nil {
			continue
		}
		_ = a.pushOnce(ctx, service) // a broken stream is opened again
	}
}

func (a *FakeAgent) pushOnce(ctx context.Context, service agentv1connect.AgentServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := service.PushLogs(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.CloseRequest() })
	defer stop()
	for {
		m := a.nextLines()
		if m == nil {
			return errors.Join(stream.CloseRequest(), stream.CloseResponse())
		}
		if err := stream.Send(m.request); err != nil {
			return err
		}
		answer, err := stream.Receive()
		if err != nil {
			return err
		}
		a.stored(m, answer)
	}
}

// piece is lines on their way.
type piece struct {
	job     *Job
	request *agentv1.PushLogsRequest
}

// nextLines is what some log still has to send; nil if there is nothing.
func (a *FakeAgent) nextLines() *piece {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, j := range a.logging() {
		if j.stored || j.refused || uint64(len(j.lines)) == j.acked && !j.whole {
			continue
		}
		return &piece{job: j, request: &agentv1.PushLogsRequest{
			LogId: j.Spec.GetId(), Attempt: j.Spec.GetAttempt(), Lines: j.lines[j.acked:], Eof: j.whole,
		}}
	}
	return nil
}

// logging are all jobs that may have lines. a.mu is held.
func (a *FakeAgent) logging() []*Job {
	out := append([]*Job(nil), a.spooled...)
	for _, j := range a.jobs {
		out = append(out, j)
	}
	return out
}

func (a *FakeAgent) stored(p *piece, answer *agentv1.PushLogsResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := p.job
	j.acked = max(j.acked, min(answer.GetAckedSeq(), uint64(len(j.lines))))
	j.stored = answer.GetUnwanted() || p.request.GetEof() && j.acked == uint64(len(j.lines))
	for i, other := range a.spooled {
		if j.stored && other == j {
			a.spooled = append(a.spooled[:i:i], a.spooled[i+1:]...)
			break
		}
	}
}
