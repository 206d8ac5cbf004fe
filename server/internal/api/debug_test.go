package api

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestDebug_IsForThoseWhoMayAndForNobodyElse(t *testing.T) {
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "numbers") })
	})
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine", "/debug/pprof/cmdline"} {
		for _, caller := range []string{"", "forged", "nonsense", "expired", "blocked", "roleless", "agent", "operator", "admin", "devops", "developer", "viewer"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if token := w.tokens[caller]; token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			res, err := w.client(t, caller).HTTP.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			may := caller == "operator"
			if got := res.StatusCode == http.StatusOK; got != (may && !strings.HasSuffix(path, "cmdline")) {
				t.Errorf("%s as %q: %d", path, caller, res.StatusCode)
			}
		}
	}
}
