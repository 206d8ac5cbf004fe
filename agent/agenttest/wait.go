package agenttest

import (
	"slices"
	"time"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Wait waits until ok, which runs under the server's lock, holds; the test fails if it does not within 20 s.
func (s *Server) wait(what string, ok func() bool) {
	s.t.Helper()
	timeout := time.NewTimer(waitMost)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		done, changed := ok(), s.changed
		s.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// WaitSessions waits until the agent has said hello n times, and returns the last hello.
func (s *Server) WaitSessions(n int) *agentv1.AgentHello {
	s.t.Helper()
	s.wait("sessions", func() bool { return len(s.hellos) >= n && s.session != nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hellos[len(s.hellos)-1]
}

// Sessions counts the hellos.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.hellos)
}

// WaitHeartbeats waits for n more heartbeats.
func (s *Server) WaitHeartbeats(n int) {
	s.t.Helper()
	s.mu.Lock()
	from := s.beats
	s.mu.Unlock()
	s.wait("heartbeats", func() bool { return s.beats >= from+n })
}

// WaitStarted waits until a task was reported as started n times.
func (s *Server) WaitStarted(id string, n int) {
	s.t.Helper()
	s.wait("start of "+id, func() bool { return s.started[id] >= n })
}

// WaitFinished waits for the result of a task.
func (s *Server) WaitFinished(id string) *agentv1.TaskFinished {
	s.t.Helper()
	s.wait("end of "+id, func() bool { return s.finished[id] != nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finished[id]
}

// WaitReports waits until the result of a task came n times.
func (s *Server) WaitReports(id string, n int) {
	s.t.Helper()
	s.wait("reports of "+id, func() bool { return s.reports[id] >= n })
}

// WaitLog waits until a log is whole and returns its lines.
func (s *Server) WaitLog(id string) []*gestorv1.LogLine {
	s.t.Helper()
	s.wait("log "+id, func() bool { return s.log(id).eof })
	return s.Lines(id)
}

// WaitLines waits until a log has n lines and returns them.
func (s *Server) WaitLines(id string, n int) []*gestorv1.LogLine {
	s.t.Helper()
	s.wait("lines of "+id, func() bool { return len(s.log(id).lines) >= n })
	return s.Lines(id)
}

// Lines returns what came of a log so far.
func (s *Server) Lines(id string) []*gestorv1.LogLine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log(id).lines)
}

// Progress returns what was reported of a task.
func (s *Server) Progress(id string) []*agentv1.TaskProgress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.progress[id])
}

// WaitTailEnded waits for the end of a tail.
func (s *Server) WaitTailEnded(id string) *agentv1.TailEnded {
	s.t.Helper()
	s.wait("end of "+id, func() bool { return s.tails[id] != nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tails[id]
}

// Blob returns a stored blob, nil if there is none.
func (s *Server) Blob(digest string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[digest]
}
