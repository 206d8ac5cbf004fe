// Package stack runs the real programs side by side on one machine: one gestor-server, any number of gestor-agents,
// and the gestor command. Each agent has its own data directory, deploy root, web server and ports, so several fit
// beside each other. The demo, the benchmarks and the end-to-end tests all stand on it; stacktest adds what
// only tests need.
//
// A Stack owns its processes and ends them with Close. Its directory survives, so a second Stack over the same
// directory goes on with the same data.
package stack
