package metrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/metrics"
)

// full is a server with everything there is to tell.
func full() *metrics.Metrics {
	m := metrics.New("1.2.3")
	m.Watch(metrics.Sources{
		Raft:       func() metrics.Raft { return metrics.Raft{Leader: true, Term: 3, Commit: 10, Applied: 9, Voters: 3} },
		Sessions:   func() int { return 5 },
		Watchers:   func() int { return 2 },
		Running:    func() int { return 1 },
		Tasks:      func(context.Context) (map[string]int, error) { return map[string]int{"queued": 4}, nil },
		DiskFree:   func() (uint64, error) { return 1 << 30, nil },
		LastBackup: func() time.Time { return time.Unix(1700000000, 0) },
		LogDropped: func() map[string]uint64 { return map[string]uint64{"app.log": 7} },
	})
	m.Proposed(time.Millisecond, nil)
	m.Batched(3)
	m.Called("/gestor.v1.AppService/GetApp", "ok", time.Millisecond)
	m.Streamed("/gestor.v1.TaskService/WatchTask", "ok")
	m.Refused("busy")
	return m
}

func look(t *testing.T, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func TestMetrics_TellWhatTheyWereToldAndAskTheirSources(t *testing.T) {
	text := look(t, full())
	for _, want := range []string{
		"gestor_raft_leader 1", "gestor_raft_applied_index 9", "gestor_sessions 5", `gestor_tasks{state="queued"} 4`,
		`gestor_refused_total{reason="busy"} 1`, `gestor_propose_seconds_count{outcome="applied"} 1`, "gestor_batch_commands_sum 3",
		"gestor_backup_last_success_timestamp 1.7e+09", `gestor_log_lines_dropped_total{file="app.log"} 7`, `version="1.2.3"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

func TestMetrics_CountTasksNoOftenerThanNeeded(t *testing.T) {
	asked := 0
	m := metrics.New("x")
	m.Watch(metrics.Sources{Tasks: func(context.Context) (map[string]int, error) { asked++; return map[string]int{}, nil }})
	look(t, m)
	look(t, m)
	if asked != 1 {
		t.Fatalf("counted %d times", asked)
	}
}

func TestMetrics_TellHowChangesEnded(t *testing.T) {
	m := metrics.New("x")
	for _, err := range []error{
		nil, context.Canceled, fault.Timeout("x"), fault.Unavailable("x"), fault.Exhausted("x"), fault.Conflict("x"), errors.New("x"),
	} {
		m.Proposed(time.Second, err)
	}
	text := look(t, m)
	for outcome, n := range map[string]string{"applied": "1", "given_up": "2", "unavailable": "1", "overload": "1", "refused": "1", "error": "1"} {
		if want := `gestor_propose_seconds_count{outcome="` + outcome + `"} ` + n; !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// names are the metrics a text of PromQL speaks of.
func names(expr string) []string {
	return regexp.MustCompile(`\b(?:gestor|go|process)_[a-z0-9_]+`).FindAllString(expr, -1)
}

func TestDeploy_RulesAndDashboardUseMetricsThatExist(t *testing.T) {
	text := look(t, full())
	var exprs []string
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	parse(t, "../../../deploy/prometheus/gestor.rules.yml", yaml.Unmarshal, &rules)
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert == "" || r.Expr == "" {
				t.Errorf("a rule without name or expression: %+v", r)
			}
			exprs = append(exprs, r.Expr)
		}
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	parse(t, "../../../deploy/grafana/gestor.json", json.Unmarshal, &dashboard)
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	if len(exprs) < 20 {
		t.Fatalf("only %d expressions were found", len(exprs))
	}
	for _, expr := range exprs {
		found := names(expr)
		if len(found) == 0 && !strings.Contains(expr, "up{") {
			t.Errorf("%s speaks of nothing", expr)
		}
		for _, name := range found {
			if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(text) {
				t.Errorf("%s: there is no metric %s", expr, name)
			}
		}
	}
}

func TestDeploy_ComposeFileHasThreeServersThatKnowEachOther(t *testing.T) {
	var file struct {
		Services map[string]struct {
			Image       string
			Environment map[string]string
			Volumes     []string
			Networks    []string
		}
		Volumes map[string]any
	}
	parse(t, "../../../deploy/compose/compose.yaml", yaml.Unmarshal, &file)
	if len(file.Services) != 3 {
		t.Fatalf("%d services", len(file.Services))
	}
	for name, s := range file.Services {
		if s.Image == "" || s.Environment["GESTOR_NAME"] != name || s.Environment["GESTOR_PEER_ADDRESS"] != name+":8444" || len(s.Networks) != 1 {
			t.Errorf("%s: %+v", name, s)
		}
		if joins := s.Environment["GESTOR_JOIN"] != ""; joins == (name == "one") {
			t.Errorf("%s: joins is %v", name, joins)
		}
		for _, v := range s.Volumes {
			volume, _, _ := strings.Cut(v, ":")
			if _, ok := file.Volumes[volume]; !ok {
				t.Errorf("%s: there is no volume %s", name, volume)
			}
		}
	}
}

func parse(t *testing.T, path string, unmarshal func([]byte, any) error, into any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unmarshal(raw, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
