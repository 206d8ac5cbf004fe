package api_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// touched keeps what is proposed to it.
type touched struct {
	api.Engine

	mu  sync.Mutex
	ops []command.TouchSessions
}

func (e *touched) Propose(_ context.Context, c command.Command) (command.Receipt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	op, ok := c.Op.(command.TouchSessions)
	if !ok || c.Actor.Kind != "system" || c.Actor.Action != "" {
		return command.Receipt{}, errors.New("not what is expected")
	}
	e.ops = append(e.ops, op)
	return command.Receipt{}, nil
}

func TestTouches_GatherUsesIntoOneCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &touched{}
		touches := api.NewTouches(e, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- touches.Run(ctx) }()
		long := time.Now().Add(-auth.SeenEvery)
		for range 3 {
			touches.Note(auth.Caller{Kind: auth.User, Session: gestor.Session{ID: "ses_1", SeenAt: long}}, "192.0.2.1")
			touches.Note(auth.Caller{Kind: auth.Machine, Token: gestor.Token{ID: "tkn_1"}}, "192.0.2.2")
		}
		touches.Note(auth.Caller{Kind: auth.User, Session: gestor.Session{ID: "ses_2", SeenAt: long.Add(time.Second)}}, "192.0.2.1")
		touches.Note(auth.Caller{Kind: auth.User, Session: gestor.Session{ID: "ses_old"}}, "192.0.2.1") // of a state that does not keep it
		<-time.After(time.Minute)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if len(e.ops) != 1 || len(e.ops[0].Touches) != 2 {
			t.Errorf("got %+v", e.ops)
		}
	})
}

func TestTouches_CutWhatIsTooMuchForOneCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &touched{}
		touches := api.NewTouches(e, time.Now, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = touches.Run(ctx) }()
		for i := range 12_000 {
			id := gestor.TokenID(string(rune('a'+i%26)) + time.Duration(i).String())
			touches.Note(auth.Caller{Kind: auth.Machine, Token: gestor.Token{ID: id}}, "192.0.2.2")
		}
		<-time.After(time.Minute)
		synctest.Wait()
		all := 0
		for _, op := range e.ops {
			all += len(op.Touches)
			if len(op.Touches) > 500 {
				t.Errorf("%d in one command", len(op.Touches))
			}
		}
		if all != 10_000 {
			t.Errorf("%d were noted", all)
		}
	})
}
