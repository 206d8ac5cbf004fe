package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
)

// access measures what it costs to know who calls, and to sign in. Passwords are checked two at a time, 19 MiB each, so that
// a flood of sign-ins waits instead of taking the server's memory.
func (b *bench) access(ctx context.Context) error {
	if err := b.gate(ctx); err != nil {
		return err
	}
	client, err := b.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	password, err := os.ReadFile(filepath.Join(b.stack.Dir, "admin-password"))
	if err != nil {
		return err
	}
	sessions := gestorv1connect.NewSessionServiceClient(client.HTTP, client.URL, client.Options()...)
	for _, callers := range []int{1, 16} {
		if err := b.logins(ctx, sessions, callers, string(password)); err != nil {
			return err
		}
	}
	return nil
}

// gate prints the Go benchmark of the way from a request's headers to its caller.
func (b *bench) gate(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "^BenchmarkGate$", "-benchtime", "1s", "github.com/saas-gestor/gestor/server/internal/api")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("benchmark of the gate: %w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if name, figures, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && strings.HasPrefix(name, "BenchmarkGate/") {
			name = strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(name), "BenchmarkGate/"), "_", " ")
			fmt.Printf("%-46s %s\n", "who calls, and may they: "+name, strings.Join(strings.Fields(figures)[1:], " "))
		}
	}
	return nil
}

func (b *bench) logins(ctx context.Context, sessions gestorv1connect.SessionServiceClient, callers int, password string) error {
	const window = 5 * time.Second
	var most int64
	took, err := load(callers, window, func(caller int) error {
		_, err := sessions.CreateSession(ctx, &gestorv1.CreateSessionRequest{Email: "admin@example.com", Password: password})
		if caller == 0 {
			if total, _, err := resident(b.stack.Server.Pid()); err == nil {
				most = max(most, total)
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %7.1f/s   p50 %s, p99 %s, at most %d MB resident\n", fmt.Sprintf("sign-ins with a password, %d callers", callers),
		float64(len(took))/window.Seconds(), ms(took.median()), ms(took.percentile(99)), most>>20)
	return nil
}
