// gestor-runner-node is the build runner of package node as a program for the agent to start.
package main

import (
	"github.com/saas-gestor/gestor/plugins/node"
	"github.com/saas-gestor/gestor/plugins/runner"
)

func main() { runner.Serve(node.New()) }
