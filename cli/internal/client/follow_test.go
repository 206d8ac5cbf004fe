package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/clitest"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type opened = *connect.ServerStreamForClient[gestorv1.TailTaskLogResponse]

func TestFollow_TakesAStreamUpWhereItBroke(t *testing.T) {
	srv := clitest.New(t, clitest.State{
		Logs:  map[string][]string{"tsk_1": {"a", "b", "c"}},
		Break: map[string]int{"TailTaskLog": 2},
	})
	c, err := client.New(client.Options{URL: srv.URL, Token: clitest.Token, Roots: srv.CA})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var after uint64
	var got, events string
	f := &client.Follow[gestorv1.TailTaskLogResponse]{
		Open: func(ctx context.Context) (opened, error) {
			return c.Logs().TailTaskLog(ctx, &gestorv1.TailTaskLogRequest{TaskId: "tsk_1", AfterSeq: after})
		},
		Each: func(m *gestorv1.TailTaskLogResponse) error {
			after = m.GetLines()[0].GetSeq()
			got += m.GetLines()[0].GetText()
			return nil
		},
		Broken: func(error) { events += "broken " },
		Back:   func() { events += "back" },
	}
	if err := f.Run(t.Context()); err != nil || got != "abc" || events != "broken back" {
		t.Errorf("got %q with %q, %v", got, events, err)
	}
}

func TestFollow_EndsAtOnceWhenTheServerSaysNo(t *testing.T) {
	opens := 0
	f := &client.Follow[gestorv1.TailTaskLogResponse]{
		Open: func(context.Context) (opened, error) {
			opens++
			return nil, fault.NotFound("there is no task")
		},
	}
	if err := f.Run(t.Context()); fault.KindOf(err) != fault.KindNotFound || opens != 1 {
		t.Errorf("got %v after %d tries", err, opens)
	}
}

func TestFollow_GivesUpOnAServerThatStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, broken := time.Now(), 0
		f := &client.Follow[gestorv1.TailTaskLogResponse]{
			Open:   func(context.Context) (opened, error) { return nil, fault.Unavailable("away") },
			Broken: func(error) { broken++ },
		}
		err := f.Run(t.Context())
		if fault.KindOf(err) != fault.KindUnavailable || broken != 1 {
			t.Errorf("got %v, announced %d times", err, broken)
		}
		if d := time.Since(begin); d < 2*time.Minute || d > 3*time.Minute {
			t.Errorf("gave up after %s", d)
		}
	})
}

func TestFollow_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f := &client.Follow[gestorv1.TailTaskLogResponse]{
			Open: func(context.Context) (opened, error) { return nil, fault.Unavailable("away") },
		}
		if err := f.Run(ctx); err == nil || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestFollow_SaysNothingOfAShortOutage(t *testing.T) {
	for grace, want := range map[time.Duration]int{0: 1, time.Second: 1, time.Hour: 0} {
		synctest.Test(t, func(t *testing.T) {
			broken := 0
			f := &client.Follow[gestorv1.TailTaskLogResponse]{
				Open:   func(context.Context) (opened, error) { return nil, fault.Unavailable("away") },
				Broken: func(error) { broken++ },
				Grace:  grace,
			}
			if err := f.Run(t.Context()); err == nil || broken != want {
				t.Errorf("with a grace of %s announced %d times, %v", grace, broken, err)
			}
		})
	}
}

func TestFollow_ComesBackWhenAServerThatDropsItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin, opens := time.Now(), 0
		f := &client.Follow[gestorv1.TailTaskLogResponse]{
			Open: func(context.Context) (opened, error) {
				if opens++; opens == 1 {
					return nil, fault.Exhausted("the reader is too slow").WithRetryAfter(5 * time.Second)
				}
				return nil, fault.Exhausted("no more for today")
			},
		}
		err := f.Run(t.Context())
		if fault.KindOf(err) != fault.KindExhausted || opens != 2 || time.Since(begin) < 5*time.Second {
			t.Errorf("got %v after %d tries in %s", err, opens, time.Since(begin))
		}
	})
}
