package backup

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Schedule makes backups at an interval and keeps the last of them.
type Schedule struct {
	o ScheduleOptions

	mu     sync.Mutex
	status Status // guarded by mu
}

// ScheduleOptions are what a Schedule needs.
type ScheduleOptions struct {
	Engine  Engine
	Cluster string // whose backups they are; others in the same place are left alone
	Target  Target
	Every   time.Duration
	Keep    int // at least 1
	Log     *slog.Logger
	Now     func() time.Time // default time.Now

	Retry time.Duration // the first pause after a failure, which doubles up to an hour; default 1 min
}

// Status is how the scheduled backups of this server go. Err and Next are of the server that leads; others have
// what they saw when they led last.
type Status struct {
	LastSuccess time.Time // of the newest backup in the place
	LastFailure time.Time
	Err         string // why the last attempt failed; empty if it did not
	Next        time.Time
}

// NewSchedule makes a schedule. RunTerm runs it.
func NewSchedule(o ScheduleOptions) *Schedule {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retry == 0 {
		o.Retry = time.Minute
	}
	return &Schedule{o: o}
}

// Status is how it goes.
func (s *Schedule) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Notice is what a person should know, in a sentence; empty when all is well.
func (s *Schedule) Notice() string {
	st := s.Status()
	if st.Err == "" {
		return ""
	}
	last := "there is none"
	if !st.LastSuccess.IsZero() {
		last = "the last is of " + st.LastSuccess.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("the scheduled backup fails, %s: %s", last, st.Err)
}

const longestRetry = time.Hour

// RunTerm makes backups while ctx lasts. What counts is the age of the newest backup in the place, so that a change of
// the leader brings none too many and none too few.
func (s *Schedule) RunTerm(ctx context.Context) error {
	defer s.note(time.Time{}, nil) // who leads next tells how it goes
	pause := s.o.Retry
	for ctx.Err() == nil {
		next, err := s.once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			next = s.o.Now().Add(pause)
			pause = min(2*pause, longestRetry)
			s.o.Log.Error("scheduled backup failed", "to", s.o.Target.String(), "err", err, "again_at", next)
		default:
			pause = s.o.Retry
		}
		s.note(next, err)
		wait := time.NewTimer(next.Sub(s.o.Now()))
		select {
		case <-wait.C:
		case <-ctx.Done():
			wait.Stop()
		}
	}
	return nil
}

// once makes a backup if it is time, and returns when it is next.
func (s *Schedule) once(ctx context.Context) (time.Time, error) {
	names, err := s.stored(ctx)
	if err != nil {
		return time.Time{}, err
	}
	now := s.o.Now().Truncate(time.Second) // as names tell it
	last := s.last(names)
	if due := last.Add(s.o.Every); due.After(now) && !last.After(now) {
		return due, nil
	}
	name := Name(s.o.Cluster, now)
	err = s.o.Target.Put(ctx, name, func(w io.Writer) error { return To(ctx, s.o.Engine, w) })
	if err != nil {
		return time.Time{}, err
	}
	s.o.Log.Info("scheduled backup done", "to", s.o.Target.String(), "name", name)
	s.last([]string{name})
	return now.Add(s.o.Every), s.prune(ctx, append(names, name))
}

// stored are the names of this cluster's backups, oldest first.
func (s *Schedule) stored(ctx context.Context) ([]string, error) {
	all, err := s.o.Target.Names(ctx)
	if err != nil {
		return nil, err
	}
	own := slices.DeleteFunc(all, func(name string) bool {
		_, ok := timeOf(s.o.Cluster, name)
		return !ok
	})
	slices.Sort(own)
	return own, nil
}

// last notes and returns when the newest of names was made.
func (s *Schedule) last(names []string) time.Time {
	if len(names) == 0 {
		return time.Time{}
	}
	at, _ := timeOf(s.o.Cluster, names[len(names)-1])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.LastSuccess = at
	return at
}

// prune removes all but the newest.
func (s *Schedule) prune(ctx context.Context, names []string) error {
	for _, name := range names[:max(0, len(names)-s.o.Keep)] {
		if err := s.o.Target.Delete(ctx, name); err != nil {
			return fmt.Errorf("remove an old backup: %w", err)
		}
	}
	return nil
}

func (s *Schedule) note(next time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Next, s.status.Err = next, ""
	if err != nil {
		s.status.LastFailure, s.status.Err = s.o.Now(), err.Error()
	}
}
