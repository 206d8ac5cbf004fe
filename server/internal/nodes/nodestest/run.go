package nodestest

import (
	"context"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/history"
)

// Run runs a loop in the background until the test ends or stop, which waits for it, is called.
func Run(t testing.TB, loop func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = loop(ctx) // how it ended shows in the state
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// Stores opens empty logs, and artifacts of which Digest is one, that close when the test ends.
func Stores(t testing.TB) (*history.Store, *blob.Store) {
	t.Helper()
	logs, err := history.Open(history.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	artifacts, err := blob.Open(blob.Options{Dir: t.TempDir(), MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = artifacts.Close() })
	if err := artifacts.Put(context.Background(), Digest, 5, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	return logs, artifacts
}
