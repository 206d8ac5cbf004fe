package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// bench is one run: a server with three agents, and what the sections share.
type bench struct {
	dir     string
	scripts string
	rounds  int
	herd    int // simulated agents
	stack   *stack.Stack
}

func newBench(ctx context.Context, bin, scripts string, rounds int) (*bench, error) {
	scripts, err := filepath.Abs(scripts)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/var/lib", "gestor-bench-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // the apps' users must reach what is below
		return nil, err
	}
	if bin, err = stack.Install(dir, bin); err != nil {
		return nil, err
	}
	s, err := stack.Open(ctx, stack.Options{Dir: filepath.Join(dir, "stack"), Bin: bin, Agents: 3})
	if err != nil {
		return nil, fmt.Errorf("start the programs: %w", err)
	}
	return &bench{dir: dir, scripts: scripts, rounds: rounds, stack: s}, nil
}

func (b *bench) close() {
	_ = b.stack.Close()                           // the programs have ended then, and that is all there is to close
	_ = b.stack.RemoveUsers(context.Background()) // also after an interrupt
	_ = os.RemoveAll(b.dir)
}

// createApp makes an app on the first n nodes, each serving it on port.
func (b *bench) createApp(ctx context.Context, slug, repository string, n, port int, more ...string) error {
	args := []string{"apps", "create", slug, "--repository", repository, "--branch", "main", "--port", strconv.Itoa(port)}
	for _, a := range b.stack.Agents[:n] {
		args = append(args, "--node", a.Node)
	}
	_, err := b.stack.CLI(ctx, append(args, more...)...)
	return err
}

// site makes a repository with 200 files, 2 MB in all.
func (b *bench) site(ctx context.Context, name string) (stack.Repo, error) {
	from := filepath.Join(b.dir, name+"-files")
	for i := range 200 {
		body := fmt.Sprintf("<!doctype html><title>page %d</title>\n%s\n", i, strings.Repeat(fmt.Sprintf("%010d ", i*7919), 900))
		path := filepath.Join(from, fmt.Sprintf("section-%d", i%10), fmt.Sprintf("page-%d.html", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return stack.Repo{}, err
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			return stack.Repo{}, err
		}
	}
	if err := os.WriteFile(filepath.Join(from, "index.html"), []byte("version 0\n"), 0o644); err != nil {
		return stack.Repo{}, err
	}
	return stack.NewRepo(ctx, filepath.Join(b.stack.Dir, "repos", name), from)
}

// change commits a new version of a site; the page it serves says which.
func change(ctx context.Context, r stack.Repo, version int) error {
	if err := r.Write("index.html", fmt.Sprintf("version %d\n", version)); err != nil {
		return err
	}
	_, err := r.Commit(ctx, fmt.Sprintf("version %d", version))
	return err
}
