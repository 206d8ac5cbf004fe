package stack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Load is an open loop of GET requests: one every 1/Rate seconds whether or not earlier ones have been answered.
type Load struct {
	URL       string
	Rate      int  // requests per second
	KeepAlive bool // reuse connections

	mu       sync.Mutex
	total    int
	failures []string
	bodies   map[string]int
}

// LoadResult is what a Load saw.
type LoadResult struct {
	Total    int
	Failures []string       // one line each: when, what
	Bodies   map[string]int // how often each answer came
}

// Run sends requests until ctx ends, then waits for the answers under way.
func (l *Load) Run(ctx context.Context) LoadResult {
	l.bodies = map[string]int{}
	client := &http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DisableKeepAlives: !l.KeepAlive, MaxIdleConnsPerHost: 64},
	}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(time.Second / time.Duration(l.Rate))
	defer tick.Stop()
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			wg.Go(func() { l.one(context.WithoutCancel(ctx), client) }) // answers under way are still awaited
		}
	}
	wg.Wait()
	return LoadResult{Total: l.total, Failures: l.failures, Bodies: l.bodies}
}

func (l *Load) one(ctx context.Context, client *http.Client) {
	body, err := get(ctx, client, l.URL)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	if err != nil {
		l.failures = append(l.failures, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	l.bodies[body]++
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s", url, resp.Status)
	}
	return string(body), nil
}
