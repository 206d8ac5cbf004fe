package agent_test

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/agent/agenttest"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func TestAgent_CarriesOutRealKindsOfTasks(t *testing.T) {
	s := agenttest.New(t)
	h := newHost(t, s)
	h.config.Executors = nil
	h.config.Nginx.Binary = "/nonexistent/nginx"
	h.start()
	s.WaitSessions(1)
	x := spec("tsk_1", 1, "task/tsk_1")
	x.Kind = "detect"
	x.Work = &agentv1.TaskSpec_Detect{Detect: &agentv1.DetectWork{Source: &agentv1.Source{Repository: "file:///etc"}}}
	s.Assign(x, nil)
	end := s.WaitFinished("tsk_1")
	if end.GetOutcome() != agentv1.Outcome_OUTCOME_FAILED || end.GetError() == "" || strings.Contains(end.GetError(), "too old") {
		t.Errorf("detect in a folder the policy does not allow: %v", end)
	}
}
