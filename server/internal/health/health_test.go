package health_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/health"
)

func ask(t *testing.T, h http.Handler) (int, health.Status) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	var s health.Status
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatalf("%q: %v", w.Body, err)
	}
	return w.Code, s
}

func TestReady_NamesEverythingThatIsWrong(t *testing.T) {
	bad := health.Check{Name: "disk", Run: func(context.Context) error { return errors.New("only 1 MiB is free") }}
	good := health.Check{Name: "leader", Run: func(context.Context) error { return nil }}
	code, s := ask(t, health.Ready("1.2.3", good, bad))
	if code != http.StatusServiceUnavailable || s.Ready || s.Checks["disk"] != "only 1 MiB is free" || s.Checks["leader"] != "ok" || s.Version != "1.2.3" {
		t.Fatalf("got %d %+v", code, s)
	}
	if code, s := ask(t, health.Ready("1", good)); code != http.StatusOK || !s.Ready {
		t.Fatalf("got %d %+v", code, s)
	}
}

func TestChecks_TellWellFromUnwell(t *testing.T) {
	for name, c := range map[string]struct {
		check health.Check
		says  string
	}{
		"a leader a moment ago": {health.Leader(func() time.Time { return time.Now().Add(-time.Second) }), ""},
		"no leader for long":    {health.Leader(func() time.Time { return time.Now().Add(-time.Minute) }), "for 1m0s"},
		"no leader ever":        {health.Leader(func() time.Time { return time.Time{} }), "since the start"},
		"all applied":           {health.Applied(func() (uint64, uint64) { return 7, 7 }), ""},
		"much to apply":         {health.Applied(func() (uint64, uint64) { return 99999, 7 }), "being applied"},
		"nothing arrived":       {health.Applied(func() (uint64, uint64) { return 0, 0 }), "not arrived"},
	} {
		err := c.check.Run(t.Context())
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
