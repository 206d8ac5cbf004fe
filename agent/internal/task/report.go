package task

import (
	"cmp"
	"io"
	"slices"
	"time"

	"github.com/saas-gestor/gestor/agent/internal/logs"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

const (
	percentEvery = 500 * time.Millisecond // how often a mere change of the percentage is told
	resendAfter  = 10 * time.Second       // how long a result may go without acknowledgement
)

// Changed is signalled when Pending may have something new.
func (m *Manager) Changed() <-chan struct{} { return m.changed }

// Held lists the tasks this agent answers for: running, queued, or ended and not acknowledged. One that waits for its
// secrets is not among them, so that the server assigns it again.
func (m *Manager) Held() []*agentv1.HeldTask {
	m.mu.Lock()
	defer m.mu.Unlock()
	held := make([]*agentv1.HeldTask, 0, len(m.tasks))
	for id, r := range m.tasks {
		if !r.awaitsSecrets {
			held = append(held, &agentv1.HeldTask{TaskId: id, Fence: r.spec.GetFence()})
		}
	}
	slices.SortFunc(held, func(a, b *agentv1.HeldTask) int { return cmp.Compare(a.GetFence(), b.GetFence()) })
	return held
}

// Busy returns how many tasks run.
func (m *Manager) Busy() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.busy)
}

// Resync makes Pending tell everything again, as a new session needs.
func (m *Manager) Resync() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.tasks {
		r.startedSent, r.finishedSent = false, time.Time{}
		r.progressDue, r.phaseDue = r.phase != "", r.phase != ""
	}
	m.signal()
}

// Pending returns what the server should be told now, and counts it as told. Results come again until Acknowledge.
func (m *Manager) Pending() []*agentv1.SessionRequest {
	m.mu.Lock()
	defer m.mu.Unlock()
	runs := make([]*run, 0, len(m.tasks))
	for _, r := range m.tasks {
		runs = append(runs, r)
	}
	slices.SortFunc(runs, func(a, b *run) int { return cmp.Compare(a.spec.GetFence(), b.spec.GetFence()) })
	var all []*agentv1.SessionRequest
	for _, r := range runs {
		all = append(all, r.pending(m.o.Now())...)
	}
	return all
}

func (r *run) pending(now time.Time) []*agentv1.SessionRequest {
	if r.finished != nil {
		if now.Sub(r.finishedSent) < resendAfter {
			return nil
		}
		r.finishedSent = now
		return []*agentv1.SessionRequest{{Message: &agentv1.SessionRequest_Finished{Finished: r.finished}}}
	}
	if !r.began {
		return nil
	}
	var all []*agentv1.SessionRequest
	id, fence := r.spec.GetId(), r.spec.GetFence()
	if !r.startedSent {
		r.startedSent = true
		all = append(all, &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Started{
			Started: &agentv1.TaskStarted{TaskId: id, Fence: fence},
		}})
	}
	if r.phaseDue || r.progressDue && now.Sub(r.progressSent) >= percentEvery {
		r.phaseDue, r.progressDue, r.progressSent = false, false, now
		all = append(all, &agentv1.SessionRequest{Message: &agentv1.SessionRequest_Progress{
			Progress: &agentv1.TaskProgress{TaskId: id, Fence: fence, Phase: r.phase, Percent: r.percent},
		}})
	}
	return all
}

// sink is what an executor talks to.
type sink struct {
	run *run
	log *logs.Log
}

var _ Sink = (*sink)(nil)

func (s *sink) Phase(name string) {
	s.log.Phase(name)
	s.update(name, -1, true)
}

func (s *sink) Progress(percent int) { s.update("", int32(max(0, min(percent, 100))), false) }

// update wakes the sender for a phase at once, and for a percentage only as often as it may be sent; the last one of a
// burst goes with the next heartbeat.
func (s *sink) update(phase string, percent int32, isPhase bool) {
	m := s.run.m
	m.mu.Lock()
	defer m.mu.Unlock()
	r := s.run
	if isPhase {
		r.phase, r.phaseDue = phase, true
	}
	if !isPhase && r.percent == percent {
		return
	}
	r.percent, r.progressDue = percent, true
	if isPhase || m.o.Now().Sub(r.progressSent) >= percentEvery {
		m.signal()
	}
}

func (s *sink) Logf(format string, args ...any) { s.log.Logf(format, args...) }
func (s *sink) Stdout() io.Writer               { return s.log.Stdout() }
func (s *sink) Stderr() io.Writer               { return s.log.Stderr() }
