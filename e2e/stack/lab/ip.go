package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// ip carries out commands of ip(8) in one go, in a namespace or, with an empty name, on this machine.
func ip(ctx context.Context, namespace string, commands ...string) error {
	args := []string{"-batch", "-"}
	if namespace != "" {
		args = append([]string{"-n", namespace}, args...)
	}
	cmd := exec.CommandContext(ctx, "ip", args...)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s in %q: %w: %s", strings.Join(commands, "; "), namespace, err, out)
	}
	return nil
}

// inside is a program and its arguments, run in a namespace. It becomes the process that is started, not its child.
func inside(namespace string, program string, args ...string) (path string, all []string) {
	return "nsenter", append([]string{"--net=/run/netns/" + namespace, "--", program}, args...)
}
