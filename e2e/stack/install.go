package stack

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// programs are what a stack runs.
var programs = []string{"gestor-server", "gestor-agent", "gestor", "gestor-runner-static", "gestor-runner-node"}

// Install copies the programs from a build's directory to dir/bin, where the users of apps can reach them: a checkout
// in somebody's home directory is often closed to others. It returns that directory.
func Install(dir, from string) (string, error) {
	to := filepath.Join(dir, "bin")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return "", err
	}
	for _, name := range programs {
		if err := copyProgram(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return "", fmt.Errorf("install %s: %w", name, err)
		}
	}
	return to, nil
}

// copyProgram replaces to by a rename: a program that runs cannot be written to.
func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		_ = target.Close()
		return err
	}
	if err := target.Close(); err != nil {
		return err
	}
	return os.Rename(to+".new", to)
}
