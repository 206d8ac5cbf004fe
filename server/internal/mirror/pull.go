package mirror

import (
	"context"
	"fmt"
	"sync"
	"time"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// stateLimit is how long the others may take to say how far they are.
const stateLimit = time.Second

// pull gets what the others have of a log and this server has not. The tally counts those of which it has everything.
func (m *Mirror) pull(ctx context.Context, id string) *tally {
	t := m.newTally()
	links := m.reachable()
	states := make([]map[string]history.State, len(links))
	var asked sync.WaitGroup
	for i, l := range links {
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, stateLimit)
			defer cancel()
			states[i], _ = l.states(ctx, []string{id}) // who does not answer is not counted
		})
	}
	asked.Wait()
	for i, l := range links {
		if states[i] == nil {
			continue
		}
		if err := l.fetchLog(ctx, id, states[i][id]); err != nil {
			if ctx.Err() == nil {
				m.log.Warn("could not get a log from another server", "server", l.server, "task", id, "err", err)
			}
			continue
		}
		t.add(l.server)
	}
	return t
}

// fetchLog stores what the server, which is at state, has of a log beyond what is here.
func (l *link) fetchLog(ctx context.Context, id string, state history.State) error {
	if len(state) == 0 {
		return nil
	}
	here, err := l.m.o.History.State(id)
	if err != nil || !here.Lacks(state) {
		return err
	}
	c, err := l.storage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	after := map[string]uint64{}
	for source, at := range here {
		after[source] = at.Acked
	}
	stream, err := c.ReadLog(ctx, &peerv1.ReadLogRequest{LogId: id, After: after})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // how it went is known by then
	for stream.Receive() {
		r := stream.Msg()
		b := history.NewBatch(r.GetSource(), r.GetAfter(), r.GetLines(), r.GetEof(), r.GetFull())
		acked, err := l.m.o.History.Replicate(ctx, id, b)
		if err != nil {
			return err
		}
		if acked < b.Acked {
			return fmt.Errorf("server %s sent lines of log %s after %d, here they end at %d", l.server, id, b.After, acked)
		}
	}
	return stream.Err()
}
