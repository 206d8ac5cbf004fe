package runner

import (
	"context"
	"fmt"
	"time"
)

// Runner turns source trees of one kind into artifacts. Its methods may be called concurrently.
type Runner interface {
	// Info says what it is.
	Info() Info
	// Detect looks at a source tree and says whether it fits and why. It is quick, and it changes nothing.
	Detect(ctx context.Context, s Source) (Detection, error)
	// Build asks the host for the steps that build a source tree and says what came out. An error is shown to people
	// as it is. When ctx ends, so does Build.
	Build(ctx context.Context, r Request, h Host) (Result, error)
}

// Host is what a runner may ask for during a Build. An error of any method ends the build and should be returned as
// it is or wrapped.
type Host interface {
	// Run runs a command in the sandbox. A command that ends badly is no error.
	Run(ctx context.Context, c Command) (Exit, error)
	// Phase names what comes next, in one word.
	Phase(ctx context.Context, name string) error
	// Log writes a line to the build's log.
	Log(ctx context.Context, format string, args ...any) error
	// ResolveRuntime makes an interpreter available that satisfies a range of versions; any if it is empty.
	ResolveRuntime(ctx context.Context, name, versions string) (Runtime, error)
	// RestoreCache puts a stored tree to dir, a path in the source tree, and tells whether there was one.
	RestoreCache(ctx context.Context, key, dir string) (bool, error)
	// SaveCache stores the tree at dir, a path in the source tree; a key that is known already is left alone.
	SaveCache(ctx context.Context, key, dir string) error
}

// Info is what a runner is.
type Info struct {
	// Name is "static", "node" …; it is the value of an app's type.
	Name string
	// Version is a part of cache keys: raise it when the same input gives another output.
	Version string
	// Precedence decides between runners that fit: the highest wins.
	Precedence int
}

// Detection is what a runner makes of a source tree.
type Detection struct {
	// Fits tells whether it would build it.
	Fits bool
	// Reasons are sentences for people, why or why not.
	Reasons []string
	// BuildCommand, StartCommand and Output are what it would use if nobody says otherwise.
	BuildCommand, StartCommand, Output string
	// Runtime is what it would ask for, for people: "node 22 (engines in package.json)".
	Runtime string
}

// Request describes a build. What a person chose is set; the rest is the runner's choice.
type Request struct {
	Source Source
	// BuildCommand is a command line for a shell.
	BuildCommand string
	// StartCommand is a command line for a shell.
	StartCommand string
	// Output is a folder in the source tree.
	Output string
}

// Kind is how what was built runs.
type Kind string

// The kinds.
const (
	Static  Kind = "static"  // files for the web server
	Process Kind = "process" // a program
)

// Result is what came out of a build.
type Result struct {
	Kind Kind
	// ArtifactDir is the folder in the source tree that becomes the artifact; all of it if empty.
	ArtifactDir string
	// WebRoot is the folder under ArtifactDir to serve; for Static.
	WebRoot string
	// StartCommand is a command line for a shell; for Process.
	StartCommand string
	// Runtime is the interpreter it needs to run; nil if none.
	Runtime *Runtime
	// Exclude are paths under ArtifactDir that stay out of the artifact.
	Exclude []string
}

// Runtime is an interpreter on the host.
type Runtime struct {
	// Name is "node".
	Name string
	// Version is exact.
	Version string
	// BinDir is where its programs are, as the sandbox sees it.
	BinDir string
}

// Command is one step. Either Argv or Line is set.
type Command struct {
	// Argv is a program and its arguments.
	Argv []string
	// Line is a person's command line, for a shell inside the sandbox. Never put it together from parts.
	Line string
	// Dir is a folder in the source tree.
	Dir string
	// Env are variables besides the build's own.
	Env map[string]string
	// Runtime is put first on the PATH; nil for none.
	Runtime *Runtime
	// CacheDirs are folders kept between builds of the app, by the variable that tells the command where.
	CacheDirs map[string]string
	// Timeout is the most it may take; 0 for what is left of the build's time.
	Timeout time.Duration
}

// Exit is how a command ended.
type Exit struct {
	// Code is the exit code.
	Code int
	// Tail is the end of what it printed, at most 4 KiB.
	Tail string
	// Killed says why it was killed: "memory limit"; empty if it ended by itself.
	Killed string
}

// Err describes an exit that is not a success; nil if it is one. What is the step, for people: "npm ci".
func (e Exit) Err(what string) error {
	switch {
	case e.Killed != "":
		return fmt.Errorf("%s was stopped: it reached its %s", what, e.Killed)
	case e.Code != 0:
		return fmt.Errorf("%s ended with exit code %d; its output is in the log", what, e.Code)
	default:
		return nil
	}
}
