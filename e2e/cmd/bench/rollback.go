package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// rollback times from the command to the first answer with the old version.
func (b *bench) rollback(ctx context.Context) error {
	repo, err := b.site(ctx, "back")
	if err != nil {
		return err
	}
	port, err := stack.FreePort(ctx)
	if err != nil {
		return err
	}
	if err := b.createApp(ctx, "back", repo.Dir, 1, port); err != nil {
		return err
	}
	for version := range 2 {
		if err := change(ctx, repo, version); err != nil {
			return err
		}
		if _, err := b.stack.CLI(ctx, "deploy", "back"); err != nil {
			return err
		}
	}
	releases, err := b.releases(ctx, "back")
	if err != nil {
		return err
	}
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	first, err := times(b.rounds, func(round int) error {
		back := (round + 1) % 2 // releases are listed newest first: version 1, version 0
		return b.rollOnce(ctx, releases[back], url, fmt.Sprintf("version %d\n", 1-back))
	})
	if err != nil {
		return err
	}
	row("static: command to first byte of the old version", first, 0)
	return b.rollbackOverSSH(ctx, first.median())
}

// rollOnce starts the command and asks the site until it answers want; then it waits for the command.
func (b *bench) rollOnce(ctx context.Context, release, url, want string) error {
	cmd := b.stack.Command(ctx, "rollback", "back", release)
	if err := cmd.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := stack.Poll(ctx, url+" to answer "+want, func(ctx context.Context) (bool, error) {
		body, err := fetch(ctx, url)
		return body == want, err
	})
	return errors.Join(err, cmd.Wait())
}

// releases are the names of an app's releases, newest first.
func (b *bench) releases(ctx context.Context, app string) ([]string, error) {
	out, err := b.stack.CLI(ctx, "releases", "list", app, "--json")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Releases []struct {
			Name string `json:"name"`
		} `json:"releases"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return nil, err
	}
	var names []string
	for _, r := range answer.Releases {
		names = append(names, r.Name)
	}
	if len(names) < 2 {
		return nil, fmt.Errorf("%s has %d releases, two are needed", app, len(names))
	}
	return names, nil
}

func (b *bench) rollbackOverSSH(ctx context.Context, ours time.Duration) error {
	hosts, stop, err := b.sshHosts(ctx, 1)
	if err != nil {
		return err
	}
	defer stop()
	repo, err := b.site(ctx, "back-ssh")
	if err != nil {
		return err
	}
	for range b.rounds + 2 {
		if err := b.everywhere(ctx, 1, hosts, "release.sh", repo.Dir); err != nil {
			return err
		}
	}
	s, err := times(1, func(int) error { return b.everywhere(ctx, 1, hosts, "rollback.sh") })
	if err != nil {
		return err
	}
	row("the same link over one ssh command", s, ours)
	return nil
}
