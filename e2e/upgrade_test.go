package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/e2e/stack"
)

// buildServer builds gestor-server of this tree with build tags.
func buildServer(t *testing.T, tags string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gestor-server")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-tags", tags, "-ldflags", "-X main.version="+tags,
		"-o", path, "github.com/saas-gestor/gestor/server/cmd/gestor-server")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build gestor-server with the tags %s: %v: %s", tags, err, out)
	}
	return path
}

// mixtures are which of three servers is changed to reach the next mixture of old and new ones. All six are passed through,
// each from another by one restart, and the last step leaves only new ones.
var mixtures = []int{0, 1, 0, 2, 1, 0, 1}

// upgrade goes from servers that run old through every mixture to servers that run next, while deployments go on.
func (w *world) upgrade(old, next string) {
	w.t.Helper()
	url, r := w.rollingSite(len(w.Agents))
	w.noFailures(w.underLoad(url, func() {
		d := w.keepDeploying("site", r)
		isNew := make([]bool, len(w.Servers))
		for _, i := range mixtures {
			isNew[i] = !isNew[i]
			program := old
			if isNew[i] {
				program = next
			}
			must(w.t, w.Restart(w.t.Context(), w.Servers[i], func(s *stack.Server) error { s.Use(program); return nil }))
			d.goesOn(1)
		}
		d.end()
	}))
	w.serversAgree()
}

// Servers of this level and of the next one make one cluster, in every mixture. Only when all are of the next does the state
// follow, and then one of the old level must not go on.
func TestServers_OfTwoLevelsServeTogetherInEveryMixture(t *testing.T) {
	next := buildServer(t, "gestor_next")
	w := startWith(t, stack.Options{Servers: 3})
	old := filepath.Join(w.Bin, "gestor-server")
	w.upgrade(old, next)

	late := w.Servers[2]
	w.until("the level to be raised", func() bool {
		late.Stop()
		if strings.Contains(w.offline(late, "check"), "level 3") {
			return true
		}
		must(t, late.Start())
		must(t, w.WaitServers(t.Context()))
		return false
	})
	late.Use(old)
	must(t, late.Start())
	w.says(late, "upgrade")
	late.Use(next)
	must(t, late.Start())
	must(t, w.WaitServers(t.Context()))
	w.serversAgree()
}
