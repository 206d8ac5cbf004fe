package api

import (
	"context"
	"log/slog"
	"time"
)

// Errands are done one after the other while nobody waits: what a stranger asks for must take the same time whether or not
// there is anything to do for them. They are few; what is too much is dropped and logged.
type Errands struct {
	queue chan errand
	log   *slog.Logger
}

type errand struct {
	name string
	do   func(ctx context.Context) error
}

// The most that may wait, and how long one may take.
const (
	mostErrands   = 64
	errandTimeout = 45 * time.Second
)

// NewErrands makes Errands, which are done while Run runs.
func NewErrands(log *slog.Logger) *Errands {
	return &Errands{queue: make(chan errand, mostErrands), log: log}
}

// post asks for do, which is a method of name.
func (e *Errands) post(name string, do func(ctx context.Context) error) {
	select {
	case e.queue <- errand{name, do}:
	default:
		e.log.Warn("errand dropped, too many wait", "errand", name)
	}
}

// Run does errands until ctx ends.
func (e *Errands) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case next := <-e.queue:
			e.do(ctx, next)
		}
	}
}

func (e *Errands) do(ctx context.Context, next errand) {
	ctx, cancel := context.WithTimeout(ctx, errandTimeout)
	defer cancel()
	if err := next.do(ctx); err != nil {
		e.log.Warn("errand failed", "errand", next.name, "err", err)
	}
}
