package mirror

import (
	"context"
	"errors"
	"fmt"

	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// errBehind means that the server lacks lines before those it was sent.
var errBehind = errors.New("the other server lacks earlier lines")

// carry sends a job's lines: those in memory, or where the server lacks others before them, those in the file.
func (l *link) carry(ctx context.Context, j job) error {
	if !j.behind {
		err := l.carryBatches(ctx, j.key, j.batches)
		if !errors.Is(err, errBehind) {
			return err
		}
	}
	return l.bringUp(ctx, j.key)
}

func (l *link) carryBatches(ctx context.Context, k key, batches []history.Batch) error {
	for len(batches) > 0 {
		b, n := history.Join(batches, callBytes)
		if err := l.append(ctx, k, b); err != nil {
			return err
		}
		batches = batches[n:]
	}
	return nil
}

// append sends one batch, unless the server is known to have it.
func (l *link) append(ctx context.Context, k key, b history.Batch) error {
	if at, ok := l.m.position(k, l.server); ok && b.End().Reached(at) {
		return nil
	}
	c, err := l.storage()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	answer, err := c.AppendLog(ctx, &peerv1.AppendLogRequest{
		LogId: k.log, Source: k.source, After: b.After, Lines: b.Lines, Eof: b.EOF, Full: b.Full(),
	})
	if err != nil {
		return fmt.Errorf("send lines of log %s: %w", k.log, err)
	}
	at := history.Position{Acked: answer.GetAcked()}
	at.Ended = b.EOF && at.Acked >= b.Acked
	l.m.confirm(k, l.server, at)
	if at.Acked < b.Acked {
		return errBehind
	}
	return nil
}

// bringUp sends what the server lacks of a log, from the file.
func (l *link) bringUp(ctx context.Context, k key) error {
	states, err := l.states(ctx, []string{k.log})
	if err != nil {
		return err
	}
	at := states[k.log][k.source]
	l.m.confirm(k, l.server, at)
	var batches []history.Batch
	var bytes int
	flush := func() error {
		err := l.carryBatches(ctx, k, batches)
		batches, bytes = nil, 0
		return err
	}
	for b, err := range l.m.o.History.BatchesOf(ctx, k.log, k.source, at.Acked) {
		if err != nil {
			return err
		}
		batches, bytes = append(batches, b), bytes+b.Bytes()
		if bytes < callBytes {
			continue
		}
		if err := flush(); err != nil {
			return err
		}
	}
	return flush()
}

// states asks the server how far it is with logs.
func (l *link) states(ctx context.Context, ids []string) (map[string]history.State, error) {
	c, err := l.storage()
	if err != nil {
		return nil, err
	}
	answer, err := c.GetLogState(ctx, &peerv1.GetLogStateRequest{LogIds: ids})
	if err != nil {
		return nil, err
	}
	out := map[string]history.State{}
	for _, s := range answer.GetLogs() {
		state := history.State{}
		for source, acked := range s.GetAcked() {
			state[source] = history.Position{Acked: acked}
		}
		for _, source := range s.GetEnded() {
			state[source] = history.Position{Acked: state[source].Acked, Ended: true}
		}
		out[s.GetLogId()] = state
	}
	return out, nil
}
