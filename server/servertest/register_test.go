package servertest_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

// A register is the name of an app: whoever reads it through any server must get what was last written through any
// other. Values are unique, so that the revision of an app stands for its value.
type registerInput struct {
	key   string
	kind  string // "read", "write", "swap"
	from  string // what a swap replaces
	value string // what is written
}

type registerOutput struct {
	value   string // what was read
	ok      bool   // whether a swap was made
	unknown bool   // nobody answered: it may happen at any later time, or never
}

func registers() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range history {
				key := op.Input.(registerInput).key //nolint:forcetypeassert // it is ours
				byKey[key] = append(byKey[key], op)
			}
			var out [][]porcupine.Operation
			for _, ops := range byKey {
				out = append(out, ops)
			}
			return out
		},
		Init: func() any { return "" },
		Step: func(state, input, output any) (bool, any) {
			in, out := input.(registerInput), output.(registerOutput) //nolint:forcetypeassert // they are ours
			switch {
			case in.kind == "read":
				return out.value == state, state
			case in.kind == "write":
				return true, in.value
			case out.unknown && state != in.from:
				return true, state
			case out.unknown || out.ok:
				return state == in.from, in.value
			default:
				return state != in.from, state
			}
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v → %+v", input, output) },
	}
}

// recorder keeps the history of all clients.
type recorder struct {
	began time.Time

	mu  sync.Mutex
	ops []porcupine.Operation // guarded by mu
}

func (r *recorder) now() int64 { return time.Since(r.began).Nanoseconds() }

// add notes an operation that was called at a time and has ended now, or is open for ever.
func (r *recorder) add(client int, call int64, in registerInput, out registerOutput) {
	back := r.now()
	if out.unknown {
		back = math.MaxInt64
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, porcupine.Operation{ClientId: client, Input: in, Call: call, Output: out, Return: back})
}

// known counts the operations with a known outcome.
func (r *recorder) known() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range r.ops {
		if op.Return != math.MaxInt64 {
			n++
		}
	}
	return n
}

// check fails the test unless the history could have happened on one register in one place.
func (r *recorder) check(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	result, info := porcupine.CheckOperationsVerbose(registers(), r.ops, 30*time.Second)
	if result == porcupine.Ok {
		return
	}
	t.Errorf("the history of %d operations is %v", len(r.ops), result)
	if f, err := visualization(); err == nil {
		defer f.Close()
		if porcupine.Visualize(registers(), info, f) == nil {
			t.Logf("it is drawn in %s", f.Name())
		}
	}
}

// person calls random servers, one call at a time.
type person struct {
	id    int
	c     *servertest.Cluster
	r     *recorder
	rand  *rand.Rand
	calls []gestorAppClient // by server
	seen  map[string]*gestorv1.App
	next  int

	failed bool // the last call
}

// sent runs a call and tells whether anything of it may have reached a server.
func sent(ctx context.Context, call func(ctx context.Context) error) (bool, error) {
	var connected atomic.Bool
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := call(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }}))
	return connected.Load(), err
}

// patience is how long a person waits for one answer.
const patience = 1500 * time.Millisecond

func newPerson(c *servertest.Cluster, r *recorder, seed uint64, id int, consistency string) *person {
	p := &person{id: id, c: c, r: r, rand: rand.New(rand.NewPCG(seed, uint64(id))), seen: map[string]*gestorv1.App{}}
	for _, s := range c.Servers {
		p.calls = append(p.calls, c.Access(s, servertest.Access{From: fmt.Sprint("person", id), Consistency: consistency}).Apps())
	}
	return p
}

func (p *person) any() gestorAppClient { return p.calls[p.rand.IntN(len(p.calls))] }

// run does one thing after another until ctx ends.
func (p *person) run(ctx context.Context, keys []string) error {
	for ctx.Err() == nil {
		key := keys[p.rand.IntN(len(keys))]
		var err error
		switch kind := p.rand.IntN(10); {
		case kind < 5:
			err = p.read(ctx, p.any(), key)
		case kind < 7:
			err = p.write(ctx, key, nil)
		default:
			err = p.write(ctx, key, p.seen[key])
		}
		if err != nil {
			return err
		}
		pause := time.Duration(2+p.rand.IntN(10)) * time.Millisecond
		if p.failed {
			pause *= 10 // what nobody answers is hard to check
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

func (p *person) read(ctx context.Context, at gestorAppClient, key string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	call := p.r.now()
	res, err := at.GetApp(ctx, &gestorv1.GetAppRequest{App: key})
	p.failed = err != nil
	if err != nil {
		return unlessAway(err) // a read without an answer says nothing
	}
	p.seen[key] = res.GetApp()
	p.r.add(p.id, call, registerInput{key: key, kind: "read"}, registerOutput{value: res.GetApp().GetSettings().GetName()})
	return nil
}

// write sets a register; given what was read, only if that is still there. Every other one is asked again under the same
// request id until somebody answers.
func (p *person) write(ctx context.Context, key string, seen *gestorv1.App) error {
	p.next++
	in := registerInput{key: key, kind: "write", value: fmt.Sprintf("v%d-%d", p.id, p.next)}
	req := &gestorv1.UpdateAppRequest{App: key, Settings: settings(in.value)}
	if seen != nil {
		in.kind, in.from, req.ExpectedRevision = "swap", seen.GetSettings().GetName(), seen.GetRevision()
	}
	tries := 1
	if p.rand.IntN(2) == 0 {
		req.RequestId, tries = in.value, 5
	}
	call := p.r.now()
	reached, err := false, error(nil)
	for range tries {
		var some bool
		some, err = sent(ctx, func(ctx context.Context) error {
			_, err := p.any().UpdateApp(ctx, req)
			return err
		})
		reached = reached || some && !nothingDone(err)
		if known(err) || ctx.Err() != nil {
			break
		}
	}
	p.failed = !known(err)
	if p.failed && !reached {
		return unlessAway(err)
	}
	out := registerOutput{ok: err == nil, unknown: err != nil}
	if in.kind == "swap" && errors.Is(err, fault.KindConflict) {
		out.unknown = false
	} else if err := unlessAway(err); err != nil {
		return err
	}
	p.r.add(p.id, call, in, out)
	return nil
}

func nothingDone(err error) bool {
	f, ok := errors.AsType[*fault.Error](err)
	return ok && f.NothingDone
}

func known(err error) bool { return err == nil || errors.Is(err, fault.KindConflict) }

// unlessAway returns errors that no fault of servers and networks explains.
func unlessAway(err error) error {
	if err == nil {
		return nil
	}
	switch fault.KindOf(err) {
	case fault.KindUnavailable, fault.KindTimeout, fault.KindCancelled, fault.KindExhausted:
		return nil
	default:
		return err
	}
}

func settings(name string) *gestorv1.AppSettings {
	return &gestorv1.AppSettings{Name: name, Repository: "https://git.example.com/shop"}
}

// makeApps makes some apps without a name.
func makeApps(t *testing.T, c *servertest.Cluster, n int) (keys []string) {
	t.Helper()
	for i := range n {
		key := fmt.Sprint("app", i)
		req := &gestorv1.CreateAppRequest{Slug: key, Settings: settings("")}
		if _, err := c.Any().Apps().CreateApp(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}
