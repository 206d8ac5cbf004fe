package rpc

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// How long a call goes on trying.
const (
	patience     = 10 * time.Second       // how long new attempts are made
	attemptLimit = 3 * time.Second        // for an answer, while another server was not asked yet
	firstBackoff = 100 * time.Millisecond // before the same server is asked again
	lastBackoff  = 2 * time.Second
)

// trip is the way of one call over the addresses.
type trip struct {
	servers *addresses
	until   time.Time            // when patience ends
	again   map[string]time.Time // when an address that failed may be asked again
	backoff time.Duration
	said    error // the last that a server itself said
}

func newTrip(ctx context.Context, servers *addresses) *trip {
	t := &trip{servers: servers, until: time.Now().Add(patience), again: map[string]time.Time{}, backoff: firstBackoff}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(t.until) {
		t.until = deadline
	}
	return t
}

// untried reports whether an address other than this one was not asked yet.
func (t *trip) untried(address string) bool {
	for _, a := range t.servers.all {
		if _, tried := t.again[a]; !tried && a != address {
			return true
		}
	}
	return false
}

// failed notes that address failed with err.
func (t *trip) failed(address string, err error) {
	t.servers.left(address, err)
	wait := t.backoff/2 + rand.N(t.backoff) //nolint:gosec // jitter
	if f, ok := errors.AsType[*fault.Error](err); ok {
		wait = max(wait, f.RetryAfter)
	}
	t.again[address] = time.Now().Add(wait)
	t.backoff = min(2*t.backoff, lastBackoff)
	if saidByServer(err) {
		t.said = err
	}
}

// next waits until an address may be asked and returns it; false if patience or ctx ends before.
func (t *trip) next(ctx context.Context) (string, bool) {
	var best string
	var at time.Time
	for i, address := range t.servers.from() {
		if when := t.again[address]; i == 0 || when.Before(at) {
			best, at = address, when
		}
	}
	if at.After(t.until) || ctx.Err() != nil {
		return "", false
	}
	if wait := time.Until(at); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return "", false
		case <-timer.C:
		}
	}
	t.servers.use(best)
	return best, true
}

// verdict is what the call ends with when err was the last of its attempts: what a server said counts more than that
// others were out of reach.
func (t *trip) verdict(err error) error {
	last, ok := errors.AsType[*fault.Error](err)
	switch {
	case saidByServer(err) || !ok || len(t.again) < 2:
		return err
	case t.said != nil:
		return t.said
	}
	var tried []string
	for _, a := range t.servers.all {
		if _, ok := t.again[a]; ok {
			tried = append(tried, a)
		}
	}
	return fault.Unavailable("none of the control servers answers: %s", strings.Join(tried, ", ")).WithCause(err).
		WithFix("%s", last.Fix)
}
