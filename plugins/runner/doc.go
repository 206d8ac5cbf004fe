// Package runner is what a build runner is made of: implement Runner, call Serve from main, test with runnertest.Run.
//
// A runner looks at a source tree and decides: does it fit, which commands build it, what comes out. It never runs
// anything by itself. It has no network, no secrets and the app's own rights; whatever is to be executed it asks of
// the Host, which runs it in the sandbox with limits, logs, cancelling and redaction.
//
// A runner is a program that the agent starts and talks to by gRPC over go-plugin. Protocol versions are negotiated at
// the start: an agent names all it speaks, the runner answers with the highest it shares.
package runner
