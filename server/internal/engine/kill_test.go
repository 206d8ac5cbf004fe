package engine_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/engine/enginetest"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const childDir = "GESTOR_TEST_CHILD_DIR"

// TestKilledChild is the other process of the test below: it writes until it is killed.
func TestKilledChild(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	e := enginetest.Open(t, dir)
	for i := 0; ; i++ {
		actor := gestor.Actor{Kind: "user", TenantID: "ten_1"}
		app := gestor.App{ID: gestor.AppID(fmt.Sprint("app_", i)), Slug: fmt.Sprint("app-", i)}
		enginetest.Propose(t, e, actor, command.CreateApp{App: app})
		_, _ = fmt.Fprintf(os.Stdout, "acknowledged %s\n", app.ID)
	}
}

func TestKill_LosesNothingThatWasAcknowledged(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$")
	child.Env = append(os.Environ(), childDir+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var acknowledged []gestor.AppID
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var id gestor.AppID
		if _, err := fmt.Sscanf(lines.Text(), "acknowledged %s", &id); err == nil {
			acknowledged = append(acknowledged, id)
		}
		if len(acknowledged) == 50 {
			_ = child.Process.Kill() // and read on what it still said
		}
	}
	if err := child.Wait(); err == nil || len(acknowledged) < 50 {
		t.Fatalf("the child ended with %v after %d changes", err, len(acknowledged))
	}
	e := enginetest.Open(t, dir)
	defer e.Close()
	for _, id := range acknowledged {
		if _, err := e.View(gestor.SystemScope()).App(t.Context(), id); err != nil {
			t.Errorf("%s was acknowledged and is gone: %v", id, err)
		}
	}
}
