// gestor-runner-static is the build runner of package static as a program for the agent to start.
package main

import (
	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/plugins/static"
)

func main() { runner.Serve(static.New()) }
