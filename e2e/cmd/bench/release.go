package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// release compares `gestor deploy` of a static site with the same steps as one local script and as one ssh command per
// host. The clock stops when every host serves the new version.
func (b *bench) release(ctx context.Context) error {
	repo, err := b.site(ctx, "site")
	if err != nil {
		return err
	}
	version := 0
	local, err := b.scripted(ctx, repo, &version, 1, nil)
	if err != nil {
		return err
	}
	hosts, stop, err := b.sshHosts(ctx, 3)
	if err != nil {
		return err
	}
	defer stop()
	for _, n := range []int{1, 3} {
		ssh, err := b.scripted(ctx, repo, &version, n, hosts)
		if err != nil {
			return err
		}
		ours, err := b.deploys(ctx, repo, &version, n)
		if err != nil {
			return err
		}
		row(fmt.Sprintf("%d host: one local script", n), local, ssh.median())
		row(fmt.Sprintf("%d host: one ssh command each, in parallel", n), ssh, ssh.median())
		row(fmt.Sprintf("%d host: gestor deploy (ratio to ssh)", n), ours, ssh.median())
	}
	return nil
}

// deploys times whole gestor deploy commands to n nodes.
func (b *bench) deploys(ctx context.Context, repo stack.Repo, version *int, n int) (sample, error) {
	slug := fmt.Sprintf("site-%d", n)
	if err := b.createApp(ctx, slug, repo.Dir, n, 0, "--domain", slug+".example"); err != nil {
		return nil, err
	}
	var took sample
	for i := range b.rounds + 1 {
		*version++
		if err := change(ctx, repo, *version); err != nil {
			return nil, err
		}
		start := time.Now()
		if _, err := b.stack.CLI(ctx, "deploy", slug); err != nil {
			return nil, err
		}
		if i > 0 {
			took = append(took, time.Since(start))
		}
		for _, a := range b.stack.Agents[:n] {
			if err := serves(ctx, a, slug+".example", *version); err != nil {
				return nil, err
			}
		}
	}
	return took, nil
}

// serves checks that an agent's web server answers with the version.
func serves(ctx context.Context, a *stack.Agent, domain string, version int) error {
	body, err := fetchAs(ctx, fmt.Sprintf("http://127.0.0.1:%d/", a.HTTPPort), domain)
	if err != nil {
		return err
	}
	if want := fmt.Sprintf("version %d\n", version); body != want {
		return fmt.Errorf("%s serves %q, want %q", a.Node, body, want)
	}
	return nil
}

func fetch(ctx context.Context, url string) (string, error) { return fetchAs(ctx, url, "") }

// fetchAs asks an address under a domain's name; its own if empty.
func fetchAs(ctx context.Context, url, domain string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	req.Host = domain
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (b *bench) sshHosts(ctx context.Context, n int) ([]*sshHost, func(), error) {
	var hosts []*sshHost
	dir, err := os.MkdirTemp(b.dir, "ssh-")
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		for _, h := range hosts {
			h.close()
		}
	}
	for i := range n {
		h, err := startSSH(ctx, filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			stop()
			return nil, nil, err
		}
		hosts = append(hosts, h)
	}
	return hosts, stop, nil
}

// scripted times release.sh: on this machine if hosts is empty, else over ssh on the first n hosts at once.
func (b *bench) scripted(ctx context.Context, repo stack.Repo, version *int, n int, hosts []*sshHost) (sample, error) {
	var took sample
	for i := range b.rounds + 1 {
		*version++
		if err := change(ctx, repo, *version); err != nil {
			return nil, err
		}
		start := time.Now()
		if err := b.everywhere(ctx, n, hosts, "release.sh", repo.Dir); err != nil {
			return nil, err
		}
		if i > 0 {
			took = append(took, time.Since(start))
		}
	}
	return took, nil
}

// everywhere runs a script with args and the root of each host.
func (b *bench) everywhere(ctx context.Context, n int, hosts []*sshHost, script string, args ...string) error {
	path := filepath.Join(b.scripts, script)
	if len(hosts) == 0 {
		return output(exec.CommandContext(ctx, "sh", append(append([]string{path}, args...), filepath.Join(b.dir, "local"))...))
	}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i, h := range hosts[:n] {
		wg.Go(func() {
			root := filepath.Join(b.dir, fmt.Sprintf("root-%d", i))
			errs[i] = output(h.command(ctx, append(append([]string{"sh", path}, args...), root)...))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func output(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
