// Package health tells whether a server is fit for work: /healthz that its process lives, /readyz that calls may be sent to
// it, with the reasons. What it tells may be known to everybody.
package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Check is one thing that must be well. Run returns nil, or an error whose text everybody may read.
type Check struct {
	Name    string
	Run     func(ctx context.Context) error
	Warning bool // what is not well is told, and the server is fit for work all the same
}

// checkLimit bounds all checks together.
const checkLimit = 5 * time.Second

// Status is the answer of /readyz.
type Status struct {
	Ready   bool              `json:"ready"`
	Version string            `json:"version"`
	Checks  map[string]string `json:"checks"` // "ok", or what is wrong
}

// Live answers that the process lives.
func Live() http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write([]byte("ok\n")) // the peer is gone if this fails
	}
}

// Ready answers 200 if all checks are well, 503 otherwise.
func Ready(version string, checks ...Check) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkLimit)
		defer cancel()
		status := Status{Ready: true, Version: version, Checks: map[string]string{}}
		for _, c := range checks {
			status.Checks[c.Name] = "ok"
			if err := c.Run(ctx); err != nil {
				status.Ready, status.Checks[c.Name] = status.Ready && c.Warning, err.Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		if !status.Ready {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(status) // the peer is gone if this fails
	}
}

// contactLimit is how long a server without a word of its leader still counts as part of the cluster: some elections.
const contactLimit = 5 * time.Second

// Leader checks that a leader was heard of a moment ago. contact is zero if none ever was.
func Leader(contact func() time.Time) Check {
	return Check{Name: "leader", Run: func(context.Context) error {
		last := contact()
		if last.IsZero() {
			return errors.New("no leader was heard of since the start")
		}
		if silence := time.Since(last); silence > contactLimit {
			return fmt.Errorf("no leader was heard of for %s", silence.Round(time.Second))
		}
		return nil
	}}
}

// mostBehind is how many entries a server may have in its log, and not in its state, in passing.
const mostBehind = 10000

// Applied checks that the state is as new as the log.
func Applied(progress func() (commit, applied uint64)) Check {
	return Check{Name: "state", Run: func(context.Context) error {
		commit, applied := progress()
		if commit == 0 {
			return errors.New("the state has not arrived yet")
		}
		if commit > applied+mostBehind {
			return fmt.Errorf("%d of %d changes are in the state, the rest is being applied", applied, commit)
		}
		return nil
	}}
}
