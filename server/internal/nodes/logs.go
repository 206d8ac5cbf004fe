package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// tailPrefix begins the log ids of tails; all others are tasks.
const tailPrefix = "tail/"

// grantTime is how long a task's right to log is remembered on a stream.
const grantTime = time.Second

type logStream = connect.BidiStream[agentv1.PushLogsRequest, agentv1.PushLogsResponse]

// grant is a task's right to log on this stream, as looked up last.
type grant struct {
	attempt int // the task's; 0 if the node may not log for it
	until   time.Time
}

// PushLogs stores log lines of tasks and passes on those of tails.
func (s *Service) PushLogs(ctx context.Context, stream *logStream) error {
	node, _, err := s.node(ctx)
	if err != nil {
		return err
	}
	grants := map[string]grant{}
	for {
		m, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive log lines: %w", err)
		}
		answer, err := s.takeLines(ctx, node, grants, m)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return fmt.Errorf("acknowledge log lines: %w", err)
		}
	}
}

func (s *Service) takeLines(ctx context.Context, node gestor.NodeID, grants map[string]grant, m *agentv1.PushLogsRequest) (*agentv1.PushLogsResponse, error) {
	id := m.GetLogId()
	answer := &agentv1.PushLogsResponse{LogId: id}
	if strings.HasPrefix(id, tailPrefix) {
		answer.AckedSeq, answer.Unwanted = s.passOn(node, m)
		return answer, nil
	}
	g, err := s.mayLog(ctx, node, grants, m)
	if err != nil {
		return nil, err
	}
	attempt := int(m.GetAttempt())
	if attempt == 0 {
		attempt = g.attempt
	}
	if attempt < 1 || attempt > g.attempt {
		answer.Unwanted = true
		return answer, nil
	}
	// What comes late of an earlier attempt is numbered by itself, and does not end the log of the one under way.
	source := fmt.Sprintf("%s/%d", node, attempt)
	answer.AckedSeq, err = s.history.Append(ctx, id, source, m.GetLines(), m.GetEof() && attempt == g.attempt)
	return answer, err
}

// mayLog returns the right of the node to log for the task of m. It is looked up again now and then, and at once for an
// attempt that is newer than the last look.
func (s *Service) mayLog(ctx context.Context, node gestor.NodeID, grants map[string]grant, m *agentv1.PushLogsRequest) (grant, error) {
	id := m.GetLogId()
	if g, ok := grants[id]; ok && time.Now().Before(g.until) && int(m.GetAttempt()) <= g.attempt {
		return g, nil
	}
	t, err := s.engine.View(gestor.SystemScope()).Task(ctx, gestor.TaskID(id))
	if err != nil && !errors.Is(err, fault.KindNotFound) {
		return grant{}, err
	}
	g := grant{until: time.Now().Add(grantTime)}
	if err == nil && t.NodeID == node && t.Fence > 0 {
		g.attempt = t.Attempt
	}
	if len(grants) > 1000 {
		clear(grants)
	}
	grants[id] = g
	return g, nil
}
