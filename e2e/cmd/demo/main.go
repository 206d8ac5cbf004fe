// Command demo is `make demo`: one server and one agent on this machine, a node app and a static site deployed from
// git repositories made of examples/, until Ctrl-C. A second start goes on with the same data.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

func main() {
	bin := flag.String("bin", "bin", "directory with the built programs")
	dir := flag.String("dir", "/var/lib/gestor-demo", "directory for the demo's data; must be reachable for other users")
	examples := flag.String("examples", "examples", "directory with the example apps")
	once := flag.Bool("once", false, "end when everything is live, for tests")
	flag.Parse()

	d := demo{dir: *dir, examples: *examples}
	if err := d.run(*bin, *once); err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

type demo struct {
	dir      string
	examples string
	stack    *stack.Stack
}

// app is one of the two that are deployed.
type app struct {
	slug, example string
	port          int
	address       string
}

func (d *demo) run(bin string, once bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if os.Geteuid() != 0 {
		return errors.New("the agent makes users and confines builds, so the demo needs root; run: sudo make demo")
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	bin, err := stack.Install(d.dir, bin)
	if err != nil {
		return err
	}
	fmt.Println("Starting a server and an agent on this machine. Their data is in", d.dir)
	started := time.Now()
	s, err := stack.Open(ctx, stack.Options{Dir: d.dir, Bin: bin, Agents: 1})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }() // the programs have ended then, and that is all there is to close
	d.stack = s
	fmt.Printf("Server %s and agent node-1 are connected (%s).\n", s.URL, since(started))

	apps := []app{{slug: "hello-node", example: "node-app"}, {slug: "hello-site", example: "static-site"}}
	for i := range apps {
		if err := d.deploy(ctx, &apps[i]); err != nil {
			return err
		}
	}
	d.next(apps)
	if once {
		return nil
	}
	<-ctx.Done()
	fmt.Println("\nStopping. Start again with make demo: everything is kept.")
	return nil
}

// deploy makes the app's repository and the app unless they are there, and deploys it.
func (d *demo) deploy(ctx context.Context, a *app) error {
	repo, err := stack.NewRepo(ctx, filepath.Join(d.dir, "repos", a.slug), filepath.Join(d.examples, a.example))
	if err != nil {
		return err
	}
	if a.port, err = d.port(ctx, a.slug); err != nil {
		return err
	}
	a.address = fmt.Sprintf("http://127.0.0.1:%d/", a.port)
	if _, err := d.stack.CLI(ctx, "apps", "show", a.slug); err != nil {
		if _, err := d.stack.CLI(ctx, "apps", "create", a.slug, "--repository", repo.Dir, "--branch", "main",
			"--node", "node-1", "--port", strconv.Itoa(a.port)); err != nil {
			return err
		}
	}
	fmt.Printf("\n$ gestor deploy %s\n", a.slug)
	cmd := d.stack.Command(ctx, "deploy", a.slug)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("gestor deploy %s: %w", a.slug, err)
	}
	return nil
}

// port is the app's port: chosen once, kept with the data.
func (d *demo) port(ctx context.Context, slug string) (int, error) {
	path := filepath.Join(d.dir, slug+".port")
	var port int
	if raw, err := os.ReadFile(path); err == nil {
		_, err := fmt.Sscan(string(raw), &port)
		return port, err
	}
	port, err := stack.FreePort(ctx)
	if err != nil {
		return 0, err
	}
	return port, os.WriteFile(path, fmt.Append(nil, port), 0o600)
}

// next tells where to look and what to try.
func (d *demo) next(apps []app) {
	fmt.Println("\nLive:")
	for _, a := range apps {
		fmt.Printf("  %-12s %s\n", a.slug, a.address)
	}
	fmt.Printf("\nTo talk to it from another terminal:\n  export XDG_CONFIG_HOME=%s PATH=%s:$PATH\n",
		filepath.Join(d.dir, "config"), d.stack.Bin)
	fmt.Println("\nThen try:\n  " + strings.Join([]string{
		"gestor apps list",
		"gestor nodes show node-1",
		"gestor logs hello-node -f",
		"gestor releases list hello-node",
		"gestor rollback hello-node          # after a second deploy",
		"gestor deploy                       # inside any git repository with a node app or a static site",
	}, "\n  "))
	fmt.Println("\nCtrl-C stops everything and keeps the data.")
}

func since(t time.Time) string { return time.Since(t).Round(10 * time.Millisecond).String() }
