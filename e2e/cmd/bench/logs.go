package main

import (
	"bufio"
	"context"
	"fmt"
	"time"
)

// logs times a build that prints a million lines until the last of them has been printed by `gestor build`: sandbox,
// cutting, redaction, spool, stream, history and the command itself.
func (b *bench) logs(ctx context.Context) error {
	const lines = 1_000_000
	repo, err := b.site(ctx, "lines")
	if err != nil {
		return err
	}
	if err := b.createApp(ctx, "lines", repo.Dir, 1, 0, "--domain", "lines.example", "--type", "static", "--output", ".",
		"--build-command", fmt.Sprintf("seq -f 'line %%.0f of the build, with some words behind it to make it 100 bytes long as usual lines are' %d", lines)); err != nil {
		return err
	}
	cmd := b.stack.Command(ctx, "build", "lines")
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	seen := 0
	scanner := bufio.NewScanner(out)
	for scanner.Scan() {
		seen++
	}
	took := time.Since(start)
	if err := cmd.Wait(); err != nil {
		return err
	}
	fmt.Printf("%-46s %7.0f lines/s end to end (%d lines in %s)\n", "build log", float64(seen)/took.Seconds(), seen, took.Round(time.Millisecond))
	return nil
}
