package cluster

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/saas-gestor/gestor/proto/fault"
)

// list is a machine that remembers commands and answers each with how many came before.
type list struct {
	mu       sync.Mutex
	commands []string
	index    uint64
}

func (l *list) Applied() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index
}

func (l *list) Apply(entries []Entry) [][]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out [][]any
	for _, e := range entries {
		var results []any
		for _, c := range unframe(e.Data) {
			results = append(results, len(l.commands))
			l.commands = append(l.commands, c)
		}
		out = append(out, results)
		l.index = e.Index
	}
	return out
}

func unframe(b []byte) []string {
	var out []string
	for len(b) > 0 {
		_, _, n := protowire.ConsumeTag(b)
		v, m := protowire.ConsumeBytes(b[n:])
		out = append(out, string(v))
		b = b[n+m:]
	}
	return out
}

func (l *list) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.commands)
}

func (l *list) Snapshot() (Image, error) { return &image{l.all()}, nil }

func (l *list) Restore(r io.Reader) error {
	b, err := io.ReadAll(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.commands = unframe(b)
	return err
}

type image struct{ commands []string }

func (i *image) Write(w io.Writer) error {
	var batch []*proposal
	for _, c := range i.commands {
		batch = append(batch, &proposal{data: []byte(c)})
	}
	_, err := w.Write(frame(batch))
	return err
}

func (i *image) Release() error { return nil }

func open(t *testing.T, dir string, m Machine) *Cluster {
	t.Helper()
	c, err := Open(t.Context(), Options{Dir: dir, Machine: m, Heartbeat: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestPropose_AnswersEveryCallerWithItsOwnResult(t *testing.T) {
	m := &list{}
	c := open(t, t.TempDir(), m)
	defer c.Close()
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			at, err := c.Propose(t.Context(), fmt.Append(nil, i))
			if n, ok := at.(int); err != nil || !ok || m.all()[n] != fmt.Sprint(i) {
				t.Errorf("caller %d: got %v, %v", i, at, err)
			}
		})
	}
	wg.Wait()
	if n := len(m.all()); n != 300 {
		t.Errorf("%d commands were applied", n)
	}
}

func TestOpen_ReplaysTheLogAndRestoresTheSnapshot(t *testing.T) {
	dir, m := t.TempDir(), &list{}
	c := open(t, dir, m)
	for i := range 5 {
		if _, err := c.Propose(t.Context(), []byte{byte('a' + i)}); err != nil {
			t.Fatal(err)
		}
		if i == 2 {
			if err := c.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.raft.Apply(nil, 0).Error(); err != nil { // a checkpoint of the verifier is no command
		t.Fatal(err)
	}
	want := m.all()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	again := &list{}
	c = open(t, dir, again)
	defer c.Close()
	if got := again.all(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOpen_LeadsAloneWithinTwoSeconds(t *testing.T) {
	began := time.Now()
	c, err := Open(t.Context(), Options{Dir: t.TempDir(), Machine: &list{}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2*time.Second { // 0.3 to 0.7 s on a machine with nothing else to do
		t.Errorf("it took %s", took)
	}
}

func TestOnTerm_RunsWhileLeadingAndComesBackAfterErrors(t *testing.T) {
	c := open(t, t.TempDir(), &list{})
	ctx, cancel := context.WithCancel(t.Context())
	var calls atomic.Int32
	cause := make(chan error, 1)
	c.OnTerm("failing", func(context.Context) error { calls.Add(1); return errors.New("not yet") })
	c.OnTerm("waiting", func(ctx context.Context) error {
		<-ctx.Done()
		cause <- context.Cause(ctx)
		return nil
	})
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	// Raft's end is a loss of leadership; a loop sees it by its cause.
	for calls.Load() < 2 {
		select {
		case <-t.Context().Done():
			t.Fatal("the failing loop was not run again")
		case <-time.After(time.Millisecond):
		}
	}
	if err := c.raft.Shutdown().Error(); err != nil {
		t.Fatal(err)
	}
	if got := <-cause; !errors.Is(got, ErrLeadershipLost) {
		t.Errorf("the loop ended because of %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Propose(t.Context(), []byte("x")); fault.KindOf(err) != fault.KindUnavailable {
		t.Errorf("a server without leadership took a command: %v", err)
	}
	_ = c.Close()
}

// gate is a Raft whose entries commit when the test says so.
type gate struct {
	entries chan []byte
	open    chan struct{}
}

func (g *gate) State() raft.RaftState { return raft.Leader }

func (g *gate) Apply(cmd []byte, _ time.Duration) raft.ApplyFuture {
	g.entries <- cmd
	return future{g, cmd}
}

type future struct {
	gate *gate
	cmd  []byte
}

func (f future) Error() error { <-f.gate.open; return nil }

func (f future) Index() uint64 { return 0 }

func (f future) Response() any {
	var out []any
	for _, c := range unframe(f.cmd) {
		out = append(out, c)
	}
	return out
}

func TestBatcher_GathersInOrderWithinItsBoundsAndRefusesWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{entries: make(chan []byte, 1<<14), open: make(chan struct{})}
		b := newBatcher(g)
		ctx, cancel := context.WithCancel(t.Context())
		go b.run(ctx)
		answered := make(chan error, 1<<14)
		propose := func(data []byte) {
			go func() { _, err := b.propose(t.Context(), data); answered <- err }()
			synctest.Wait()
		}
		for i := range maxInFlight { // each goes at once, alone
			propose(binary.BigEndian.AppendUint32(nil, uint32(i)))
		}
		big := make([]byte, maxBytes-10)
		propose(big)
		propose([]byte("does not fit behind the big one"))
		for range maxQueue - 2 {
			b.queue <- &proposal{data: []byte("x"), done: make(chan outcome, 1)}
		}
		if _, err := b.propose(t.Context(), []byte("y")); fault.KindOf(err) != fault.KindExhausted {
			t.Errorf("a full queue answered %v", err)
		}
		if len(g.entries) != maxInFlight {
			t.Errorf("%d entries in flight, want %d", len(g.entries), maxInFlight)
		}
		close(g.open)
		synctest.Wait()
		for range maxInFlight {
			if n := len(unframe(<-g.entries)); n != 1 {
				t.Errorf("an entry that could go at once waited for %d commands", n)
			}
		}
		if first := unframe(<-g.entries); len(first) != 1 || len(first[0]) != len(big) {
			t.Errorf("the big command did not go alone: %d commands", len(first))
		}
		for total := 0; total < maxQueue-1; {
			n := len(unframe(<-g.entries))
			if total += n; n > maxCommands {
				t.Errorf("an entry has %d commands", n)
			}
		}
		for range maxInFlight + 2 {
			if err := <-answered; err != nil {
				t.Error(err)
			}
		}
		cancel()
		<-b.ended
	})
}

func TestBatcher_LetsCallersGoWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher(&gate{entries: make(chan []byte, 1), open: make(chan struct{})})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		b.run(ctx)
		if _, err := b.propose(t.Context(), []byte("x")); !errors.Is(err, ErrUnknown) {
			t.Errorf("got %v", err)
		}
	})
}

// hanging is a log whose writes take as long as the test wants.
type hanging struct {
	raft.LogStore
	takes time.Duration
}

func (h hanging) StoreLogs([]*raft.Log) error { <-time.After(h.takes); return nil }

func TestWatchdog_BarksOnceAtACallThatHangsAndNotAtASlowOne(t *testing.T) {
	for takes, want := range map[time.Duration]int{1900 * time.Millisecond: 0, 10 * time.Second: 1} {
		synctest.Test(t, func(t *testing.T) {
			barks := 0
			dog := &watchdog{limit: 2 * time.Second, onStall: func(string) { barks++ }}
			logs := watchedLogs{LogStore: hanging{takes: takes}, dog: dog}
			for range 2 {
				if err := logs.StoreLogs(nil); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			if barks != want {
				t.Errorf("a call of %s: %d barks, want %d", takes, barks, want)
			}
		})
	}
}
