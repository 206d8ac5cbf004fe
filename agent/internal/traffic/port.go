package traffic

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/saas-gestor/gestor/proto/fault"
)

// checkPort tells whether nginx will be able to listen on a port it does not listen on yet. In mode system the host's
// own sites may listen there with it.
func (n *Nginx) checkPort(port int) error {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port)) //nolint:noctx // closed at once
	if err == nil {
		return l.Close()
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen on port %d: %w", port, err)
	}
	owner, pid := listener(port)
	if n.o.Mode == System && owner == "nginx" {
		return nil
	}
	if owner == "" {
		return fault.Conflict("port %d of this host is in use by another program", port).WithFix("choose another port")
	}
	return fault.Conflict("port %d of this host is in use by %s (process %d)", port, owner, pid).
		WithFix("stop it or choose another port")
}

// listener names the program that listens on a TCP port.
func listener(port int) (name string, pid int) {
	inodes := map[string]bool{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		addListeners(table, port, inodes)
	}
	if len(inodes) == 0 {
		return "", 0
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/[0-9]*")
	if err != nil {
		return "", 0
	}
	for _, l := range links {
		target, err := os.Readlink(l)
		if err != nil || !inodes[target] {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(l, "/")[2])
		comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil {
			return strings.TrimSpace(string(comm)), pid
		}
	}
	return "", 0
}

func addListeners(table string, port int, inodes map[string]bool) {
	f, err := os.Open(table)
	if err != nil {
		return
	}
	defer f.Close() //nolint:errcheck // only read
	suffix := fmt.Sprintf(":%04X", port)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == "0A" {
			inodes["socket:["+fields[9]+"]"] = true
		}
	}
}
