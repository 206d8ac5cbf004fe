package e2e_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// colleague is a second person, with a configuration of their own.
type colleague struct {
	w   *world
	dir string
}

// invite makes a person who accepts the invitation and signs in, as people do.
func (w *world) invite(email, role string) colleague {
	w.t.Helper()
	link := query[struct {
		Link struct {
			Link string `json:"link"`
		} `json:"link"`
	}](w, "users", "invite", email, "--role", role).Link.Link
	c := colleague{w: w, dir: w.t.TempDir()}
	pin, err := os.ReadFile(filepath.Join(w.Servers[0].DataDir, "server-root.pin"))
	must(w.t, err)
	const password = "a horse of their own"
	c.must(password, "accept", link, "--pin", strings.TrimSpace(string(pin)), "--password-stdin")
	c.must(password, "login", w.URL, "--pin", strings.TrimSpace(string(pin)), "--email", email, "--password-stdin")
	return c
}

// must runs a command as this person.
func (c colleague) must(stdin string, args ...string) string {
	c.w.t.Helper()
	cmd := c.w.Command(c.w.t.Context(), args...)
	cmd.Env = append(cmd.Env, "XDG_CONFIG_HOME="+c.dir)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.w.t.Fatalf("gestor %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// waiting is the app's deployment once it waits for a reason that holds a text.
func (w *world) waiting(app, why string) string {
	w.t.Helper()
	var id string
	w.until("a deployment to wait for "+why, func() bool {
		list := query[struct {
			Deployments []struct {
				ID      string `json:"id"`
				Waiting string `json:"waiting"`
			} `json:"deployments"`
		}](w, "deployments", "list", app).Deployments
		if len(list) == 0 || !strings.Contains(list[0].Waiting, why) {
			return false
		}
		id = list[0].ID
		return true
	})
	return id
}

func TestProtect_TwoPeopleBringItLiveAndOneBringsItBack(t *testing.T) {
	w := start(t, 1)
	r := w.repo("site", map[string]string{"index.html": "one"})
	url := w.create("site", r, 1)
	w.cli("protect", "production", "--approvals", "1")
	eva := w.invite("eva@example.com", "devops")

	first := w.background("deploy", "site")
	id := w.waiting("site", "waits for the approval of one more person (asked by admin@example.com; may approve: admin, devops)")
	if to, err := os.Readlink(filepath.Join(w.Agents[0].DeployRoot, "site", "current")); err == nil {
		t.Fatalf("%s is live before anybody approved it", to)
	}
	w.refused(4, []string{"another person must approve it"}, "deployments", "approve", id)
	if out := eva.must("", "deployments", "list", "--waiting"); !strings.Contains(out, id) {
		t.Errorf("what waits for eva is %q", out)
	}
	eva.must("", "deployments", "approve", id, "--comment", "looks good")
	must(t, first())
	w.serves(url, "one")

	yesterday, tomorrow := time.Now().UTC().AddDate(0, 0, -1), time.Now().UTC().AddDate(0, 0, 1)
	w.cli("protect", "production", "--freeze", "Fair: "+yesterday.Format(time.DateOnly)+" to "+tomorrow.Format(time.DateOnly)+" UTC")
	w.commit(r, "index.html", "two")
	second := w.background("deploy", "site")
	id = w.waiting("site", "production is frozen until")
	eva.must("", "deployments", "approve", id)
	w.until("the approval to count", func() bool {
		return !strings.Contains(w.cli("deployments", "show", id), "one more person")
	})
	w.serves(url, "one")
	w.cli("deployments", "override-freeze", id, "--reason", "the shop is down")
	must(t, second())
	w.serves(url, "two")

	w.cli("rollback", "site") // at once, frozen or not
	w.serves(url, "one")

	w.commit(r, "index.html", "three")
	third := w.background("deploy", "site")
	id = w.waiting("site", "one more person")
	eva.must("", "deployments", "reject", id, "--comment", "not today")
	if err := third(); err == nil || !strings.Contains(err.Error(), "rejected by eva@example.com: not today") {
		t.Errorf("the rejected deployment's command ended with %v", err)
	}
	w.serves(url, "one")
}
