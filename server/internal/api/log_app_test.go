package api

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// sessions answers one OpenTail after the other: with lines and an end, or, for none, that the node is not connected.
type sessions struct {
	answers [][]*gestorv1.LogLine
	asked   []int // last
}

func (s *sessions) OpenTail(ctx context.Context, _ gestor.NodeID, _ string, last int, _ bool) (<-chan []*gestorv1.LogLine, error) {
	s.asked = append(s.asked, last)
	out := make(chan []*gestorv1.LogLine, 1)
	if len(s.answers) == 0 { // the last session stays
		context.AfterFunc(ctx, func() { close(out) })
		return out, nil
	}
	lines := s.answers[0]
	s.answers = s.answers[1:]
	if lines == nil {
		return nil, fault.Unavailable("the node is not connected")
	}
	out <- lines
	close(out)
	return out, nil
}

func TestAppTail_FollowsANodeToItsNextSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := &gestorv1.LogLine{Text: "skipped", Stream: gestorv1.LogStream_LOG_STREAM_GESTOR}
		s := &sessions{answers: [][]*gestorv1.LogLine{{{Text: "a"}, {Text: "b"}, own}, nil, nil, {{Text: "b"}, {Text: "c"}}}}
		out := make(chan *gestorv1.TailAppLogResponse, 10)
		tail := &appTail{apps: s, node: gestor.Node{Name: "web-1"}, slug: "shop", last: 100, follow: true, out: out}
		ctx, leave := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { tail.run(ctx); close(ended) }()
		first, notice, again := <-out, <-out, <-out
		if len(first.GetLines()) != 3 || first.GetAgain() || notice.GetNotice() == "" {
			t.Errorf("got %v, %v", first, notice)
		}
		if len(again.GetLines()) != 2 || !again.GetAgain() {
			t.Errorf("got %v, want the lines of the next session, marked", again)
		}
		<-out // that this one broke off too
		synctest.Wait()
		leave()
		<-ended
		if len(s.asked) < 4 || s.asked[0] != 100 || s.asked[3] != 2 || len(out) != 0 {
			t.Errorf("asked for %v lines, %d messages more", s.asked, len(out))
		}
	})
}

func TestAppTail_EndsWithTheLogUnlessItFollows(t *testing.T) {
	out := make(chan *gestorv1.TailAppLogResponse, 10)
	s := &sessions{answers: [][]*gestorv1.LogLine{{{Text: "a"}}}}
	(&appTail{apps: s, slug: "shop", out: out}).run(t.Context())
	if m := <-out; len(m.GetLines()) != 1 || len(out) != 0 || len(s.asked) != 1 {
		t.Errorf("got %v and %d more, asked %d times", m, len(out), len(s.asked))
	}
}
