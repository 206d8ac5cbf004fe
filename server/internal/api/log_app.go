package api

import (
	"context"
	"errors"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// appTail is what an app prints on one node, on its way to a reader. With follow it outlives the node's session, which
// moves when a server dies: the tail is opened again wherever the node is then.
type appTail struct {
	apps   AppTails
	node   gestor.Node
	slug   string
	last   int // lines to begin with
	follow bool
	out    chan<- *gestorv1.TailAppLogResponse

	sent int  // lines of the app so far
	told bool // that it broke off
}

// How often a node is asked again whose log broke off.
const (
	firstReopen = 500 * time.Millisecond
	lastReopen  = 5 * time.Second
	mostReplay  = 1000 // lines sent again, of which the reader leaves out what it has
)

// run sends until the log ends, with follow until ctx does.
func (t *appTail) run(ctx context.Context) {
	wait := firstReopen
	for {
		began := t.sent
		notice := t.once(ctx)
		if !t.follow || ctx.Err() != nil {
			t.notice(ctx, notice)
			return
		}
		if t.sent > began {
			wait, t.told = firstReopen, false
		}
		if !t.told {
			t.told = true
			t.notice(ctx, notice)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
			wait = min(2*wait, lastReopen)
		}
	}
}

// once sends what one session of the node gives, and says why no more comes; "" if that is all.
func (t *appTail) once(ctx context.Context) string {
	last, again := t.last, t.sent > 0
	if again {
		last = min(t.sent, mostReplay)
	}
	opened, cancel := context.WithCancel(ctx)
	defer cancel()
	lines, err := t.apps.OpenTail(opened, t.node.ID, t.slug, last, t.follow)
	if err != nil {
		return noticeOf(err)
	}
	for chunk := range lines {
		t.send(ctx, &gestorv1.TailAppLogResponse{NodeName: t.node.Name, Lines: chunk, Again: again})
		again = false
		t.count(chunk)
	}
	if t.follow {
		return "the log broke off: the node's agent left, or lost its server; what comes later follows"
	}
	return ""
}

func (t *appTail) count(chunk []*gestorv1.LogLine) {
	for _, l := range chunk {
		if l.GetStream() != gestorv1.LogStream_LOG_STREAM_GESTOR {
			t.sent++
		}
	}
}

func (t *appTail) notice(ctx context.Context, text string) {
	if text != "" && ctx.Err() == nil {
		t.send(ctx, &gestorv1.TailAppLogResponse{NodeName: t.node.Name, Notice: text})
	}
}

func (t *appTail) send(ctx context.Context, m *gestorv1.TailAppLogResponse) {
	select {
	case t.out <- m:
	case <-ctx.Done():
	}
}

// noticeOf is why a node's log cannot be read, for the reader.
func noticeOf(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Error()
	}
	return "the node's log cannot be read now"
}
