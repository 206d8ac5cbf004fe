package mirror

import (
	"context"
	"iter"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// Append stores lines that came from an agent, in the agent's own count, and returns, once enough servers have them, the
// highest count that the agent need not send again. Until then it waits, as long as ctx lets it.
func (m *Mirror) Append(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (uint64, error) {
	stored, err := m.Begin(ctx, id, source, lines, eof)
	if err != nil {
		return 0, err
	}
	return stored(ctx)
}

// Begin is the first half of Append: the lines are stored here and on their way to the others. stored is the other half,
// so that a caller can go on with the next lines meanwhile.
func (m *Mirror) Begin(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) (stored func(context.Context) (uint64, error), err error) {
	if err := m.closeGap(ctx, id, source, lines, eof); err != nil {
		return nil, err
	}
	b, err := m.o.History.Take(ctx, id, source, lines, eof)
	if err != nil {
		return nil, err
	}
	k := key{id, source}
	answer, want := b.Answer(lines), b.End()
	if m.spread(k, b) {
		return func(context.Context) (uint64, error) { return answer, nil }, nil
	}
	return func(ctx context.Context) (uint64, error) {
		if err := m.await(ctx, k, want); err != nil {
			return 0, err
		}
		return answer, nil
	}, nil
}

// spread queues a batch for all others, and reports whether it is stored by enough already.
func (m *Mirror) spread(k key, b history.Batch) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.roster.others) == 0 {
		return true
	}
	e := m.markOf(k)
	for server, l := range m.links {
		switch {
		case len(b.Lines) > 0 || b.EOF:
			l.offer(k, b)
		case !b.End().Reached(e.acked[server]): // it came again: perhaps the others never got it
			l.behind(k)
		}
	}
	return m.roster.votes && m.roster.need <= 1
}

// gapRetry is how often a server that may lack lines asks the others for them.
const gapRetry = 500 * time.Millisecond

// closeGap makes sure that lines which an agent does not send are on no other server: an agent that changes servers
// goes on behind what was acknowledged, which this server may not have yet. An end without lines does not say what it comes
// behind, and whoever follows the log here stops at it. It returns once enough servers were asked.
func (m *Mirror) closeGap(ctx context.Context, id, source string, lines []*gestorv1.LogLine, eof bool) error {
	if len(lines) == 0 && !eof || len(lines) > 0 && lines[0].GetSeq() == 1 || len(m.known().others) == 0 {
		return nil
	}
	for {
		state, err := m.o.History.State(id)
		if err != nil {
			return err
		}
		at := state[source]
		if len(lines) > 0 && lines[0].GetSeq() <= at.Acked+1 || len(lines) == 0 && at.Ended {
			return nil
		}
		if m.pull(ctx, id).enough() {
			return nil
		}
		timer := time.NewTimer(gapRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// tailLimit is how long a reader waits for what this server lacks.
const tailLimit = 10 * time.Second

// Tail reads a log like history.Store, after this server has got what the others have of it. Where it cannot reach
// them it gives what it has.
func (m *Mirror) Tail(ctx context.Context, id string, o history.TailOptions) iter.Seq2[[]*gestorv1.LogLine, error] {
	return func(yield func([]*gestorv1.LogLine, error) bool) {
		if len(m.known().others) > 0 {
			limited, cancel := context.WithTimeout(ctx, tailLimit)
			o.SkipLate = !m.pull(limited, id).enough()
			cancel()
		}
		for lines, err := range m.o.History.Tail(ctx, id, o) {
			if !yield(lines, err) {
				return
			}
		}
	}
}
