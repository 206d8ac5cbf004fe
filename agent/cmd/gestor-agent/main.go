// Command gestor-agent runs on each host and does what the control servers assign.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/saas-gestor/gestor/agent/internal/process"
)

// version is set by the build.
var version = "dev" //nolint:gochecknoglobals // the linker sets it

func main() {
	if handled, code := process.Main(os.Args[1:]); handled {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := root().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gestor-agent:", err)
		os.Exit(1)
	}
}
