// Command bench measures what the README and the design promise, on this machine, in one run, beside the plain tools
// that do the same: it prints medians, ratios and the machine, and asserts nothing.
//
//	bench [-bin DIR] [-rounds N] [-agents N] [section ...]
//
// Sections: memory, release, rollback, switch, commands, access, logs, cluster, failover, agents; all of them by default.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

type section struct {
	name string
	run  func(*bench, context.Context) error
}

// The order matters: memory is read first, when nothing has run yet.
var sections = []section{
	{"memory", (*bench).memory},
	{"release", (*bench).release},
	{"rollback", (*bench).rollback},
	{"switch", (*bench).switching},
	{"commands", (*bench).commands},
	{"access", (*bench).access},
	{"logs", (*bench).logs},
	{"cluster", (*bench).cluster},
	{"failover", (*bench).failover},
	{"agents", (*bench).agents},
}

func main() {
	bin := flag.String("bin", "bin", "directory with the built programs")
	scripts := flag.String("scripts", "e2e/bench", "directory with the scripts to compare with")
	herd := flag.Int("agents", 10000, "simulated agents of the section agents")
	rounds := flag.Int("rounds", 7, "rounds per figure; the median is printed")
	flag.Parse()

	if err := run(*bin, *scripts, *rounds, *herd, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(bin, scripts string, rounds, herd int, only []string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := newBench(ctx, bin, scripts, rounds)
	if err != nil {
		return err
	}
	defer b.close()
	b.herd = herd
	b.machine()
	for _, s := range sections {
		if len(only) > 0 && !slices.Contains(only, s.name) {
			continue
		}
		fmt.Printf("\n== %s\n", s.name)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
