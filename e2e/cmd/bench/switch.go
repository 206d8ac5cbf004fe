package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

const program = `const http = require('http');
const version = %q;
const server = http.createServer((req, res) => setTimeout(() => res.end(version), 5));
server.keepAliveTimeout = 65000;
setTimeout(() => server.listen(process.env.PORT, '127.0.0.1'), 500);
process.on('SIGTERM', () => server.close(() => process.exit(0)));
`

// switching counts failed requests while a node app that boots in 500 ms is deployed eight times under 200 requests
// a second, with and without keep-alive.
func (b *bench) switching(ctx context.Context) error {
	for _, keepAlive := range []bool{true, false} {
		if err := b.switchUnderLoad(ctx, keepAlive); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) switchUnderLoad(ctx context.Context, keepAlive bool) error {
	slug, name := "app-new", "a new connection each"
	if keepAlive {
		slug, name = "app-keep", "keep-alive"
	}
	repo, err := stack.NewRepo(ctx, filepath.Join(b.stack.Dir, "repos", slug), filepath.Join(b.scripts, "empty"))
	if err != nil {
		return err
	}
	if err := repo.Write("package.json", `{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"}}`); err != nil {
		return err
	}
	port, err := stack.FreePort(ctx)
	if err != nil {
		return err
	}
	if err := b.deployVersion(ctx, repo, slug, 0, func() error { return b.createApp(ctx, slug, repo.Dir, 1, port, "--watch", "1s") }); err != nil {
		return err
	}
	load := stack.Load{URL: fmt.Sprintf("http://127.0.0.1:%d/", port), Rate: 200, KeepAlive: keepAlive}
	loadCtx, stop := context.WithCancel(ctx)
	results := make(chan stack.LoadResult, 1)
	go func() { results <- load.Run(loadCtx) }()
	var took sample
	for version := range 8 {
		start := time.Now()
		if err := b.deployVersion(ctx, repo, slug, version+1, nil); err != nil {
			stop()
			return err
		}
		took = append(took, time.Since(start))
	}
	stop()
	r := <-results
	fmt.Printf("%-46s %d failed of %d, %d versions seen\n", "node, "+name+", 8 deploys at 200/s", len(r.Failures), r.Total, len(r.Bodies))
	for i, f := range r.Failures {
		if i < 5 {
			fmt.Println("    " + f)
		}
	}
	row("  each deploy, with a watch of 1 s", took, 0)
	return nil
}

func (b *bench) deployVersion(ctx context.Context, repo stack.Repo, slug string, version int, before func() error) error {
	if err := repo.Write("server.js", fmt.Sprintf(program, fmt.Sprintf("version %d", version))); err != nil {
		return err
	}
	if _, err := repo.Commit(ctx, fmt.Sprintf("version %d", version)); err != nil {
		return err
	}
	if before != nil {
		if err := before(); err != nil {
			return err
		}
	}
	_, err := b.stack.CLI(ctx, "deploy", slug)
	return err
}
