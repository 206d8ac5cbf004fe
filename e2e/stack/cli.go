package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Command is the gestor command with the stack's own contexts file.
func (s *Stack) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.Bin, "gestor"), args...)
	cmd.Env = append(os.Environ(), "XDG_CONFIG_HOME="+filepath.Join(s.Dir, "config"), "NO_COLOR=1")
	return cmd
}

// CLIError is a gestor command that ended with a code other than 0.
type CLIError struct {
	Args   []string
	Code   int
	Stdout string
	Stderr string
}

// Error is the command, its code and what it printed.
func (e *CLIError) Error() string {
	return fmt.Sprintf("gestor %s ended with %d: %s%s", strings.Join(e.Args, " "), e.Code, e.Stdout, e.Stderr)
}

// CLI runs the gestor command and returns what it printed on standard output. A code other than 0 is a *CLIError.
func (s *Stack) CLI(ctx context.Context, args ...string) (string, error) {
	cmd := s.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return stdout.String(), &CLIError{Args: args, Code: exit.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	}
	return stdout.String(), err
}
