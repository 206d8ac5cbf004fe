package mirror

import (
	"context"
	"errors"
	"fmt"
	"time"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// Catalogue says what there should be.
type Catalogue interface {
	// Logs calls use with the logs of tasks that were made after a time, the newest first, at most 500 at once.
	Logs(ctx context.Context, since time.Time, use func([]LogRef) error) error
	// Artifacts are the digests of the artifacts that may still be needed.
	Artifacts(ctx context.Context) ([]string, error)
}

// LogRef is a log.
type LogRef struct {
	ID string
	At time.Time // about when its last line came
}

const (
	sweepRetry = 10 * time.Second
	// margin is how long a task may have existed when its lines were missed; recent is that without a known cause.
	margin = 24 * time.Hour
	recent = 2 * time.Hour
)

// lookSince asks for a look for what may be missing since a time.
func (m *Mirror) lookSince(since time.Time) {
	for {
		select {
		case m.sweeps <- since:
			return
		case other := <-m.sweeps:
			if other.Before(since) {
				since = other
			}
		}
	}
}

// keepWhole looks for what is missing: for everything at first, then for what is new.
func (m *Mirror) keepWhole(ctx context.Context) error {
	if m.o.Catalogue == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	since, wait, retry := time.Time{}, time.Duration(0), sweepRetry
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case at := <-m.sweeps:
			timer.Stop()
			if at = at.Add(-margin); at.Before(since) {
				since = at
			}
		case <-timer.C:
		}
		started := time.Now()
		if err := m.sweep(ctx, since); err != nil {
			if ctx.Err() == nil {
				m.log.Info("could not look for missing logs and artifacts; will look again", "err", err)
			}
			wait, retry = min(retry, m.o.Every), 2*retry
			continue
		}
		since, wait, retry = started.Add(-recent), m.o.Every, sweepRetry
	}
}

// sweep gets logs and artifacts that others have and this server lacks, one at a time.
func (m *Mirror) sweep(ctx context.Context, since time.Time) error {
	var errs []error
	err := m.o.Catalogue.Logs(ctx, since, func(refs []LogRef) error {
		errs = append(errs, m.sweepLogs(ctx, refs)) // the rest may be there all the same
		return ctx.Err()
	})
	return errors.Join(append(errs, err, m.sweepBlobs(ctx))...)
}

func (m *Mirror) sweepLogs(ctx context.Context, refs []LogRef) error {
	var ids []string
	for _, r := range refs {
		if m.o.History.Keeps(r.At) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	var errs []error
	for _, l := range m.reachable() {
		errs = append(errs, l.sweepLogs(ctx, ids))
	}
	return errors.Join(append(errs, ctx.Err())...)
}

func (l *link) sweepLogs(ctx context.Context, ids []string) error {
	states, err := l.statesInTime(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := l.fetchLog(ctx, id, states[id]); err != nil {
			return fmt.Errorf("get log %s from server %s: %w", id, l.server, err)
		}
	}
	return nil
}

func (l *link) statesInTime(ctx context.Context, ids []string) (map[string]history.State, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return l.states(ctx, ids)
}

func (m *Mirror) sweepBlobs(ctx context.Context) error {
	wanted, err := m.o.Catalogue.Artifacts(ctx)
	if err != nil {
		return err
	}
	var errs []error
	var missing []string
	for _, digest := range wanted {
		if _, err := m.o.Blobs.Stat(digest); err != nil && blob.IsDigest(digest) {
			missing = append(missing, digest)
		}
	}
	for len(missing) > 0 {
		some := missing[:min(len(missing), maxDigests)]
		missing = missing[len(some):]
		for _, l := range m.reachable() {
			errs = append(errs, l.fetchBlobs(ctx, some))
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// fetchBlobs gets those of some artifacts that the server has and this one still lacks.
func (l *link) fetchBlobs(ctx context.Context, digests []string) error {
	there, err := l.has(ctx, digests...)
	if err != nil {
		return err
	}
	for _, digest := range there {
		if _, err := l.m.o.Blobs.Stat(digest); err == nil {
			continue
		}
		if err := l.fetchBlob(ctx, digest); err != nil {
			return fmt.Errorf("get artifact %s from server %s: %w", digest, l.server, err)
		}
		l.m.log.Info("got a missing artifact from another server", "server", l.server, "digest", digest)
	}
	return nil
}

// has asks the server which artifacts it has.
func (l *link) has(ctx context.Context, digests ...string) ([]string, error) {
	c, err := l.storage()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	answer, err := c.HasBlobs(ctx, &peerv1.HasBlobsRequest{Digests: digests})
	if err != nil {
		return nil, err
	}
	return answer.GetDigests(), nil
}
