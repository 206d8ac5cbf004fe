package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// unlimited lifts what protects servers from one caller, who is all there is here.
const unlimited = `
[limits]
address_reads_per_second = 0
address_writes_per_second = 0
tenant_reads_per_second = 0
tenant_writes_per_second = 0
connections_per_network = 0
calls_at_once = 1024
`

// open starts some servers, each on a host of its own, with one agent that has nothing to do.
func (b *bench) open(ctx context.Context, name string, servers int, settings string) (*stack.Stack, error) {
	return stack.Open(ctx, stack.Options{
		Dir: filepath.Join(b.dir, name), Bin: b.stack.Bin, Servers: servers, Network: true, Settings: settings,
	})
}

// cluster measures durable writes on one and on three servers; all of them, and the callers, share the machine.
func (b *bench) cluster(ctx context.Context) error {
	for _, n := range []int{1, 3} {
		s, err := b.open(ctx, fmt.Sprintf("cluster-%d", n), n, unlimited)
		if err != nil {
			return err
		}
		err = b.clusterWrites(ctx, s)
		if err := errors.Join(err, s.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) clusterWrites(ctx context.Context, s *stack.Stack) error {
	const apps = 64
	leader, err := s.Leader(ctx)
	if err != nil {
		return err
	}
	at := map[string][]*stack.Server{"at the leader": {leader}}
	if len(s.Servers) > 1 {
		at["at a follower"] = s.Others(leader)[:1]
	}
	first, err := s.Client(ctx, rpc.Options{})
	if err != nil {
		return err
	}
	defer first.Close()
	if err := makeApps(ctx, gestorv1connect.NewAppServiceClient(first.HTTP, first.URL, first.Options()...), s.Agents[0].Node, apps); err != nil {
		return err
	}
	for _, where := range []string{"at the leader", "at a follower"} {
		for _, callers := range []int{1, 64, 512} {
			if at[where] == nil {
				continue
			}
			title := fmt.Sprintf("%d server(s), writes %s, %d callers", len(s.Servers), where, callers)
			if err := b.clusterWrite(ctx, s, title, at[where], callers, apps); err != nil {
				return err
			}
		}
	}
	return nil
}

func makeApps(ctx context.Context, to gestorv1connect.AppServiceClient, node string, n int) error {
	for i := range n {
		_, err := to.CreateApp(ctx, &gestorv1.CreateAppRequest{
			Slug: fmt.Sprintf("writes-%d", i),
			Settings: &gestorv1.AppSettings{
				Repository: "https://git.example/site.git", Branch: "main", Type: gestorv1.AppType_APP_TYPE_STATIC,
				Nodes: []string{node}, Domains: []string{fmt.Sprintf("writes-%d.example", i)},
			},
		})
		if err != nil {
			return fmt.Errorf("make an app to write to: %w", err)
		}
	}
	return nil
}

const (
	perClient = 64 // callers that share a connection
	window    = 4 * time.Second
)

func (b *bench) clusterWrite(ctx context.Context, s *stack.Stack, title string, at []*stack.Server, callers, apps int) error {
	var clients []gestorv1connect.AppServiceClient
	for range (callers + perClient - 1) / perClient {
		c, err := s.Client(ctx, rpc.Options{}, at...)
		if err != nil {
			return err
		}
		defer c.Close()
		clients = append(clients, gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...))
	}
	took, err := load(callers, window, func(caller int) error {
		_, err := clients[caller/perClient].UpdateEnv(ctx, &gestorv1.UpdateEnvRequest{
			App: fmt.Sprintf("writes-%d", caller%apps), Set: map[string]string{"KEY": time.Now().String()},
		})
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("%-52s %7.0f/s   p50 %s, p99 %s\n", title, float64(len(took))/window.Seconds(), ms(took.median()), ms(took.percentile(99)))
	return nil
}

// load has callers do something again and again for a while, and returns how long each time took.
func load(callers int, window time.Duration, do func(caller int) error) (sample, error) {
	var (
		mu   sync.Mutex
		took sample
		errs []error
		wg   sync.WaitGroup
	)
	end := time.Now().Add(window)
	for caller := range callers {
		wg.Go(func() {
			var own sample
			var err error
			for time.Now().Before(end) && err == nil {
				start := time.Now()
				err = do(caller)
				own = append(own, time.Since(start))
			}
			mu.Lock()
			defer mu.Unlock()
			took, errs = append(took, own...), append(errs, err)
		})
	}
	wg.Wait()
	return took, errors.Join(errs...)
}

// defaults are hashicorp/raft's own times.
const defaults = "heartbeat = \"1s\"\n"

// failover measures how long nothing can be written after kill -9 of the leader, beside the library's default times.
func (b *bench) failover(ctx context.Context) error {
	var ours time.Duration
	for i, c := range []struct{ name, settings string }{{"ours (300 ms)", ""}, {"hashicorp/raft's defaults (1 s)", defaults}} {
		s, err := b.open(ctx, fmt.Sprintf("failover-%d", i), 3, c.settings+unlimited)
		if err != nil {
			return err
		}
		gaps, err := b.failovers(ctx, s)
		if err := errors.Join(err, s.Close()); err != nil {
			return err
		}
		ratio := ""
		if ours == 0 {
			ours = gaps.median()
		} else {
			ratio = fmt.Sprintf("%.2f x ours", float64(gaps.median())/float64(ours))
		}
		fmt.Printf("no write after kill -9 of the leader, %-32s median %s, worst of %d: %s   %s\n",
			c.name, ms(gaps.median()), len(gaps), ms(gaps.percentile(100)), ratio)
	}
	return nil
}

const failovers = 20

// failovers kills the leader again and again under one caller who writes without a pause.
func (b *bench) failovers(ctx context.Context, s *stack.Stack) (sample, error) {
	client, err := s.Client(ctx, rpc.Options{})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	apps := gestorv1connect.NewAppServiceClient(client.HTTP, client.URL, client.Options()...)
	if err := makeApps(ctx, apps, s.Agents[0].Node, 1); err != nil {
		return nil, err
	}
	var gaps sample
	for trial := range failovers {
		leader, err := s.Leader(ctx)
		if err != nil {
			return nil, err
		}
		gap, err := blackout(ctx, apps, trial, leader)
		if err != nil {
			return nil, fmt.Errorf("trial %d: %w", trial, err)
		}
		gaps = append(gaps, gap)
		if err := leader.Start(); err != nil {
			return nil, err
		}
		if err := s.WaitServers(ctx); err != nil {
			return nil, err
		}
	}
	return gaps, nil
}

// blackout is the time from the death of the leader to the end of the first write that began after it.
func blackout(ctx context.Context, apps gestorv1connect.AppServiceClient, trial int, leader *stack.Server) (time.Duration, error) {
	for n := range 5 { // the connection is warm and the caller is known
		if err := write(ctx, apps, fmt.Sprintf("warm-%d-%d", trial, n)); err != nil {
			return 0, err
		}
	}
	killed := time.Now()
	leader.Kill()
	if err := write(ctx, apps, fmt.Sprintf("after-%d", trial)); err != nil {
		return 0, err
	}
	return time.Since(killed), nil
}

func write(ctx context.Context, apps gestorv1connect.AppServiceClient, id string) error {
	_, err := apps.UpdateEnv(ctx, &gestorv1.UpdateEnvRequest{RequestId: id, App: "writes-0", Set: map[string]string{"KEY": id}})
	return err
}
