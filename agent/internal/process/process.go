package process

import (
	"context"
	"io"
	"time"
)

// Kind names the way programs are confined.
type Kind string

// The kinds, best first.
const (
	Systemd    Kind = "systemd"    // transient units and unit files
	Namespaces Kind = "namespaces" // namespaces and cgroups of our own
	Process    Kind = "process"    // process groups and resource limits: weak
)

// Weak tells that the kind does not hide or protect files.
func (k Kind) Weak() bool { return k == Process }

// Limits are ceilings. A zero field means none, but for Processes, whose default is DefaultProcesses.
type Limits struct {
	MemoryBytes uint64        // all processes together
	CPUs        float64       // 1.5 is one and a half processors
	Processes   int           // processes and threads
	Time        time.Duration // wall time; steps only
	DiskBytes   uint64        // what the writable paths may hold together; steps only, looked at about once a second
	FileSize    uint64        // the largest single file
}

// DefaultProcesses is the ceiling of processes and threads when none is set.
const DefaultProcesses = 512

// Step is one command, run to its end. Argv or Command must be set, not both.
type Step struct {
	// Name labels the step for people and names its unit or cgroup; a task's id with a suffix. Two steps that run
	// at the same time have different names. Letters, digits, '.', '_' and '-'.
	Name string
	// Argv is the program and its arguments; the program is looked up in the PATH of Env.
	Argv []string
	// Command is run by sh -c, inside the sandbox.
	Command string
	// Dir is the working directory.
	Dir string
	// Env is the whole environment, "NAME=value"; nothing is inherited.
	Env []string
	// UID and GID own the processes; neither may be 0. Supplementary groups are cleared.
	UID, GID uint32
	// Writable paths are the only ones that can be written to, besides a private /tmp. They must exist.
	Writable []string
	// ReadOnly paths stay visible even inside a hidden one. They must exist.
	ReadOnly []string
	// Hidden paths cannot be opened; those of Options.Hidden are added. Ones that do not exist are ignored.
	Hidden []string
	// Limits are the step's ceilings.
	Limits Limits
	// Stdout and Stderr take the output; nil discards it. Standard input is empty.
	Stdout, Stderr io.Writer
	// Network gives the step the host's network; without it there is only a loopback of its own.
	Network bool
}

// Why something was ended by us or by the kernel for us.
const (
	KilledMemory    = "memory limit"
	KilledTime      = "time limit"
	KilledProcesses = "process limit"
	KilledDisk      = "disk limit"
	KilledCancelled = "cancelled"
)

// Exit is how a step ended.
type Exit struct {
	Code     int           // the exit code; -1 if a signal ended it
	Signal   string        // "killed"; empty if it exited
	Killed   string        // one of the Killed constants; empty if it ended by itself
	Duration time.Duration // wall time
	MaxRSS   uint64        // bytes, of the largest process; 0 if unknown
}

// OK tells that the step ended by itself with code 0.
func (e Exit) OK() bool { return e.Code == 0 && e.Signal == "" && e.Killed == "" }

// Sandbox runs one command, confined, to its end; nothing survives it.
type Sandbox interface {
	// Run returns an error only if the step could not be started or watched. A step that ran and ended badly, also
	// by a limit or by the end of ctx, is told by Exit. Safe for concurrent use.
	Run(ctx context.Context, s Step) (Exit, error)
}

// Unit is a program that shall run until stopped. Argv or Command must be set, not both.
type Unit struct {
	// Name is "<slug>@<release>".
	Name string `json:"name"`
	// Argv is the program, an absolute path, and its arguments.
	Argv []string `json:"argv,omitempty"`
	// Command is run by sh -c, confined.
	Command string `json:"command,omitempty"`
	// Dir is the working directory.
	Dir string `json:"dir"`
	// Env holds settings that are no secrets: PORT, HOST, PATH. They win over EnvFile.
	Env map[string]string `json:"env,omitempty"`
	// EnvFile is the path of a file of NAME="value" lines, read at each start; it is not an error if it is missing.
	EnvFile string `json:"env_file,omitempty"`
	// UID and GID own the processes; neither may be 0.
	UID uint32 `json:"uid"`
	GID uint32 `json:"gid"`
	// Writable, ReadOnly and Hidden are as in Step.
	Writable []string `json:"writable,omitempty"`
	ReadOnly []string `json:"read_only,omitempty"`
	Hidden   []string `json:"hidden,omitempty"`
	// Limits are the ceilings of the program; Time and DiskBytes are not looked at.
	Limits Limits `json:"limits"`
	// LogFile takes the output, rotated at 10 MiB, five old ones kept. Its directory must exist.
	LogFile string `json:"log_file"`
	// Grace is how long the program may take to end after SIGTERM when nobody says otherwise; 10 s if 0.
	Grace time.Duration `json:"grace"`
}

// Status is what a unit does.
type Status struct {
	Name     string    `json:"name"`
	Running  bool      `json:"running"`             // the program runs now
	Wanted   bool      `json:"wanted"`              // it shall run: it is started again when it ends
	Pid      int       `json:"pid"`                 // of the program or its init; 0 if it does not run
	Since    time.Time `json:"since"`               // when it last started
	Restarts int       `json:"restarts"`            // how often it was started again since Start
	LastExit string    `json:"last_exit,omitempty"` // "exit code 1", "signal killed (memory limit)"; empty if it never ended
}

// Supervisor keeps long-running programs that outlive the agent.
type Supervisor interface {
	// Start makes the unit run, now and after a crash or reboot. It is idempotent by name: a unit that runs with the
	// same settings is left alone, one with other settings is restarted. It does not wait for the program to be useful.
	Start(ctx context.Context, u Unit) error
	// Stop ends the unit with SIGTERM, SIGKILL after grace (the unit's own if 0), and forgets it. It is not an error
	// if there is no such unit.
	Stop(ctx context.Context, name string, grace time.Duration) error
	// Status tells what the unit does; a *fault.Error of kind not found if it was never started or was stopped.
	Status(ctx context.Context, name string) (Status, error)
	// List tells about all units, by name.
	List(ctx context.Context) ([]Status, error)
	// Restore starts again what shall run and does not, after a reboot for instance. Call it once at start.
	Restore(ctx context.Context) error
}
