package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/e2e/herd"
	"github.com/saas-gestor/gestor/e2e/stack"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// agents measures what many agents cost: simulated ones, each with a TLS connection and a session of its own. They share
// the machine with the servers.
func (b *bench) agents(ctx context.Context) error {
	for _, servers := range []int{1, 3} {
		if err := b.crowd(ctx, servers); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) crowd(ctx context.Context, servers int) (err error) {
	s, err := b.open(ctx, fmt.Sprintf("agents-%d", servers), servers, unlimited)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	client, err := s.Client(ctx, rpc.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	c := &crowd{stack: s, client: client, arrived: map[string]time.Time{}}
	before, err := memoryOf(s)
	if err != nil {
		return err
	}
	fmt.Printf("-- %d agents, %d server(s)\n", b.herd, servers)
	if err := c.enroll(ctx, b.herd); err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- c.herd.Run(running) }()
	err = c.measure(ctx, b.herd, before)
	stop()
	return errors.Join(err, <-done)
}

// crowd is a herd of agents at some servers.
type crowd struct {
	stack  *stack.Stack
	client *rpc.Client
	herd   *herd.Herd

	mu      sync.Mutex
	arrived map[string]time.Time // of tasks at their agents; guarded by mu
}

func (c *crowd) enroll(ctx context.Context, n int) error {
	var servers []string
	for _, s := range c.stack.Servers {
		servers = append(servers, s.Address)
	}
	began := time.Now()
	nodes := gestorv1connect.NewNodeServiceClient(c.client.HTTP, c.client.URL, c.client.Options()...)
	for _, real := range c.stack.Agents { // they would take tasks, and work on them
		if _, err := nodes.DrainNode(ctx, &gestorv1.DrainNodeRequest{Node: real.Node}); err != nil {
			return err
		}
	}
	var err error
	c.herd, err = herd.Enroll(ctx, herd.Options{
		Agents: n, Prefix: "herd", Servers: servers, Pin: c.stack.Pin(), Tasks: c.take,
		Nodes: nodes,
	})
	if err == nil {
		fmt.Printf("%-46s %.0f/s\n", "enrolled, token and certificate", float64(n)/time.Since(began).Seconds())
	}
	return err
}

func (c *crowd) take(task string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.arrived[task] = time.Now()
}

func (c *crowd) measure(ctx context.Context, n int, before uint64) error {
	took, err := c.all(ctx, n)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %s\n", "all connected after", took.Round(10*time.Millisecond))
	if err := c.rest(ctx, n, before); err != nil {
		return err
	}
	if err := c.tasks(ctx); err != nil {
		return err
	}
	return c.restart(ctx, n)
}

// all waits until all agents hold a session.
func (c *crowd) all(ctx context.Context, n int) (time.Duration, error) {
	began := time.Now()
	limit, tick := time.After(5*time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for c.herd.Connected() < n {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-limit:
			return 0, fmt.Errorf("only %d of %d agents are connected after 5 min", c.herd.Connected(), n)
		case <-tick.C:
		}
	}
	return time.Since(began), nil
}

const quiet = 20 * time.Second

// rest is what the servers use when nothing happens but heartbeats.
func (c *crowd) rest(ctx context.Context, n int, before uint64) error {
	used, err := cpuOf(c.stack)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(quiet):
	}
	now, err := cpuOf(c.stack)
	if err != nil {
		return err
	}
	after, err := memoryOf(c.stack)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %.0f KB (resident, %d MB before, %d MB with them)\n", "memory per agent, all servers",
		float64(after-before)/float64(n)/1024, before>>20, after>>20)
	fmt.Printf("%-46s %.2f cores (one heartbeat per agent in 5 s)\n", "CPU at rest, all servers", (now-used).Seconds()/quiet.Seconds())
	return nil
}

// tasks measures the way of tasks that are over at once: one caller at a time for the time, many for the rate.
func (c *crowd) tasks(ctx context.Context) error {
	apps := gestorv1connect.NewAppServiceClient(c.client.HTTP, c.client.URL, c.client.Options()...)
	var mu sync.Mutex
	created := map[string]time.Time{}
	create := func(int) error {
		began := time.Now()
		answer, err := apps.DetectApp(ctx, &gestorv1.DetectAppRequest{Repository: "https://git.example/site.git"})
		if err == nil {
			mu.Lock()
			created[answer.GetTaskId()] = began
			mu.Unlock()
		}
		return err
	}
	const span = 10 * time.Second
	if _, err := load(4, span, create); err != nil {
		return err
	}
	way, err := c.way(ctx, created)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s p50 %s, p99 %s (%d tasks by 4 callers)\n", "from a task's request to its start at the agent", ms(way.median()), ms(way.percentile(99)), len(way))
	finished, began := c.herd.Finished(), time.Now()
	clear(created)
	if _, err := load(64, span, create); err != nil {
		return err
	}
	if _, err := c.way(ctx, created); err != nil {
		return err
	}
	fmt.Printf("%-46s %.0f/s (64 callers, nothing to do)\n", "tasks created, dispatched and done", float64(c.herd.Finished()-finished)/time.Since(began).Seconds())
	return nil
}

// way waits until all tasks have arrived and returns how long each took.
func (c *crowd) way(ctx context.Context, created map[string]time.Time) (sample, error) {
	limit, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		var s sample
		c.mu.Lock()
		for task, began := range created {
			if at, ok := c.arrived[task]; ok {
				s = append(s, at.Sub(began))
			}
		}
		c.mu.Unlock()
		if len(s) == len(created) {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-limit:
			return nil, fmt.Errorf("%d of %d tasks have not arrived after a minute", len(created)-len(s), len(created))
		case <-tick.C:
		}
	}
}

// restart kills all servers and starts them again.
func (c *crowd) restart(ctx context.Context, n int) error {
	for _, s := range c.stack.Servers {
		s.Kill()
	}
	for c.herd.Connected() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	opened, resumed := c.herd.Sessions()
	began := time.Now()
	for _, s := range c.stack.Servers {
		if err := s.Start(); err != nil {
			return err
		}
	}
	if _, err := c.all(ctx, n); err != nil {
		return err
	}
	o, r := c.herd.Sessions()
	fmt.Printf("%-46s %s (%d sessions, %d with a TLS ticket)\n", "all back after kill -9 and start of all servers",
		time.Since(began).Round(10*time.Millisecond), o-opened, r-resumed)
	return nil
}

// memoryOf is what the servers have in memory, in bytes.
func memoryOf(s *stack.Stack) (uint64, error) {
	var sum uint64
	for _, server := range s.Servers {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", server.Pid()))
		if err != nil {
			return 0, err
		}
		pages, err := strconv.ParseUint(strings.Fields(string(raw))[1], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += pages * uint64(os.Getpagesize())
	}
	return sum, nil
}

// cpuOf is what the servers have computed so far.
func cpuOf(s *stack.Stack) (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	var sum time.Duration
	for _, server := range s.Servers {
		raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", server.Pid()))
		if err != nil {
			return 0, err
		}
		_, rest, _ := strings.Cut(string(raw), ") ")
		fields := strings.Fields(rest)
		for _, i := range []int{11, 12} { // utime and stime, counted behind the name
			n, err := strconv.ParseInt(fields[i], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}
