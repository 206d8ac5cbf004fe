// Package process runs programs for the agent: short steps inside a Sandbox, long-running apps under a Supervisor.
//
// It picks one of three ways, best first: transient systemd units and unit files where systemd is running; namespaces
// and cgroups of its own on other Linux hosts; plain process groups where neither may be used, which is reported as
// weak. It knows nothing of apps, releases or tasks, and never builds a command line by pasting strings: the only
// shell is the one a step or unit asks for by setting Command, and it starts inside the confinement.
//
// Guarantees: nothing of a step survives Run, also not what it detached, and also not when the agent is killed with
// SIGKILL; a step or unit never runs as root, holds no capability and cannot gain one; it writes only to the paths it
// was given and does not see the hidden ones (the last two do not hold for process groups). Units survive the agent
// and are found again by the next one.
//
// The namespaces backend starts the agent's own binary again: the program's main must call Main before anything else.
package process
