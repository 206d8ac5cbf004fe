package servertest_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"golang.org/x/sync/errgroup"

	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/servertest"
)

type gestorAppClient = gestorv1connect.AppServiceClient

// soak is how long a test with random faults goes on, and the seed of this run. GESTOR_SOAK=1 makes it long,
// GESTOR_SEED repeats the draws of another run.
func soak(t *testing.T, short time.Duration) (time.Duration, uint64) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if n, err := strconv.ParseUint(os.Getenv("GESTOR_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("GESTOR_SEED=%d", seed)
	if os.Getenv("GESTOR_SOAK") != "" {
		return 5 * time.Minute, seed
	}
	return short, seed
}

func visualization() (*os.File, error) { return os.CreateTemp("", "gestor-history-*.html") }

// enough is how many operations with a known outcome prove something.
const enough = 300

// during lets people work while faults happen, and leaves a whole cluster.
func during(t *testing.T, c *servertest.Cluster, r *recorder, short time.Duration, consistency string, faults ...servertest.Fault) {
	t.Helper()
	keys := makeApps(t, c, 5)
	length, seed := soak(t, short)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // a busy machine gets more time to prove as much
		defer cancel()
		end := time.Now().Add(length)
		_ = servertest.Until(ctx, 4*length, func(context.Context) error {
			if time.Now().Before(end) || r.known() < enough {
				return errors.New("go on")
			}
			return nil
		})
	}()
	var people errgroup.Group
	for id := range 8 {
		p := newPerson(c, r, seed, id, consistency)
		people.Go(func() error { return p.run(ctx, keys) })
	}
	c.Nemesis(ctx, seed, faults...)
	if err := people.Wait(); err != nil {
		t.Error(err)
	}
	c.Whole()
}

func TestAPI_IsLinearizableWhileServersFail(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	r := &recorder{began: time.Now()}
	during(t, c, r, 6*time.Second, rpc.ConsistencyLeader, servertest.Faults()...)
	r.check(t)
	c.Check()
	if n := r.known(); n < enough {
		t.Errorf("only %d operations had a known outcome: too few to prove anything", n)
	} else {
		t.Logf("%d operations, %d of them with a known outcome", len(r.ops), n)
	}
}

func TestChecker_CatchesALocalReadOfAServerThatIsBehind(t *testing.T) {
	t.Parallel()
	c := servertest.NewCluster(t, 3)
	key := makeApps(t, c, 1)[0]
	leader, behind := c.WaitLeader(), c.Follower()
	r := &recorder{began: time.Now()}
	p := newPerson(c, r, 1, 0, rpc.ConsistencyLocal)
	fresh := p.calls[slices.Index(c.Servers, leader)]
	stale := p.calls[slices.Index(c.Servers, behind)]
	p.calls = []gestorAppClient{fresh}
	if err := p.write(t.Context(), key, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.read(t.Context(), fresh, key); err != nil {
		t.Fatal(err)
	}
	servertest.Partition.Begin(c, behind)
	defer servertest.Partition.End(c, behind)
	if err := p.write(t.Context(), key, p.seen[key]); err != nil {
		t.Fatal(err)
	}
	if err := p.read(t.Context(), stale, key); err != nil {
		t.Fatal(err)
	}
	if len(r.ops) != 4 || porcupine.CheckOperations(registers(), r.ops) {
		t.Errorf("a stale read was taken for a good one: %+v", r.ops)
	}
}

func TestChecker_KnowsGoodHistoriesFromBad(t *testing.T) {
	write := func(call, back int64, v string) porcupine.Operation {
		return porcupine.Operation{Input: registerInput{key: "a", kind: "write", value: v}, Output: registerOutput{ok: true}, Call: call, Return: back}
	}
	read := func(call, back int64, v string) porcupine.Operation {
		return porcupine.Operation{Input: registerInput{key: "a", kind: "read"}, Output: registerOutput{value: v}, Call: call, Return: back}
	}
	swap := func(call, back int64, from, to string, ok bool) porcupine.Operation {
		in := registerInput{key: "a", kind: "swap", from: from, value: to}
		return porcupine.Operation{Input: in, Output: registerOutput{ok: ok}, Call: call, Return: back}
	}
	open := func(op porcupine.Operation) porcupine.Operation {
		op.Output, op.Return = registerOutput{unknown: true}, 1<<62
		return op
	}
	histories := map[string]struct {
		ops  []porcupine.Operation
		good bool
	}{
		"read of the last write":                       {[]porcupine.Operation{write(1, 2, "x"), read(3, 4, "x")}, true},
		"stale read":                                   {[]porcupine.Operation{write(1, 2, "x"), write(3, 4, "y"), read(5, 6, "x")}, false},
		"lost write":                                   {[]porcupine.Operation{write(1, 2, "x"), read(3, 4, "")}, false},
		"read during a write":                          {[]porcupine.Operation{write(1, 9, "x"), read(2, 3, "x"), read(4, 5, "x")}, true},
		"reads that go back":                           {[]porcupine.Operation{write(1, 9, "x"), read(2, 3, "x"), read(4, 5, "")}, false},
		"unknown write that happens late":              {[]porcupine.Operation{open(write(1, 2, "x")), read(3, 4, ""), read(5, 6, "x")}, true},
		"unknown write that happens twice":             {[]porcupine.Operation{open(write(1, 2, "x")), read(3, 4, "x"), write(5, 6, "y"), read(7, 8, "x")}, false},
		"two swaps of one value":                       {[]porcupine.Operation{swap(1, 2, "", "x", true), swap(3, 4, "", "y", true)}, false},
		"swap refused though nothing stood in its way": {[]porcupine.Operation{swap(1, 2, "", "x", false)}, false},
		"unknown swap that was made":                   {[]porcupine.Operation{open(swap(1, 2, "", "x", true)), read(3, 4, "x")}, true},
	}
	for name, h := range histories {
		t.Run(name, func(t *testing.T) {
			if got := porcupine.CheckOperations(registers(), h.ops); got != h.good {
				t.Errorf("linearizable: %v, want %v", got, h.good)
			}
		})
	}
}
