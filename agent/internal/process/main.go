package process

import (
	"encoding/json"
	"fmt"
	"os"
)

// The hidden subcommands of the agent's binary.
const (
	initCommand      = "sandbox-init"
	superviseCommand = "supervise"
)

// Main runs the hidden subcommands that confine and supervise programs. A program that uses this package calls it
// with os.Args[1:] before anything else, and exits with code if it was handled.
func Main(args []string) (handled bool, code int) {
	if len(args) == 0 {
		return false, 0
	}
	switch args[0] {
	case initCommand:
		return true, runInit()
	case superviseCommand:
		return true, runSupervise(args[1:])
	default:
		return false, 0
	}
}

// The descriptors an init is given besides the usual three.
const (
	configFD = 3 // the initConfig; its end tells that the agent is gone
	resultFD = 4 // takes the initResult
)

// initConfig is what an init is told.
type initConfig struct {
	Argv       []string `json:"argv"`
	Dir        string   `json:"dir"`
	Env        []string `json:"env"`
	EnvFile    string   `json:"env_file,omitempty"`
	UID        uint32   `json:"uid"`
	GID        uint32   `json:"gid"`
	Namespaces bool     `json:"namespaces"`
	Network    bool     `json:"network"`
	Writable   []string `json:"writable,omitempty"`
	ReadOnly   []string `json:"read_only,omitempty"`
	Hidden     []string `json:"hidden,omitempty"`
	FileSize   uint64   `json:"file_size,omitempty"`
	Memory     uint64   `json:"memory,omitempty"`    // without cgroups only
	Processes  int      `json:"processes,omitempty"` // without cgroups only
	Groups     []string `json:"groups,omitempty"`    // cgroup.procs files to join
}

// initResult is what an init tells when its program has ended, or could not be started.
type initResult struct {
	Error  string `json:"error,omitempty"`
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"`
	MaxRSS uint64 `json:"max_rss"`
}

func (r initResult) write(f *os.File) {
	// A reader that is gone cannot be told anything.
	_ = json.NewEncoder(f).Encode(r) //nolint:errchkjson // as above
}

func (r initResult) String() string {
	if r.Signal != "" {
		return "signal " + r.Signal
	}
	return fmt.Sprintf("exit code %d", r.Code)
}
