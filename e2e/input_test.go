package e2e_test

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestInput_BadSettingsAreRefusedWithTheFieldAndNothingIsMade(t *testing.T) {
	w := start(t, 1)
	repository := filepath.Join(w.Dir, "repos", "app")
	for name, args := range map[string][]string{
		"slug with a path":        {"../etc", "--repository", repository},
		"slug with a semicolon":   {"a;reboot", "--repository", repository},
		"ext transport":           {"app", "--repository", "ext::sh -c id"},
		"leading dash":            {"app", "--repository=--upload-pack=touch /tmp/pwned"},
		"password in the address": {"app", "--repository", "https://ana:secret@example.com/x.git"},
		"domain with a brace":     {"app", "--repository", repository, "--domain", "a.example{"},
		"domain with a newline":   {"app", "--repository", repository, "--domain", "a.example\nserver_name b"},
		"port too high":           {"app", "--repository", repository, "--port", "70000"},
		"health path with quote":  {"app", "--repository", repository, "--health-path", `/"; return 200; #`},
		"output outside":          {"app", "--repository", repository, "--output", "../.."},
	} {
		t.Run(name, func(t *testing.T) {
			sub := &world{Stack: w.Stack, t: t}
			sub.refused(2, nil, append([]string{"apps", "create"}, append(args, "--node", "node-1")...)...)
		})
	}
	if out := w.cli("apps", "list"); strings.Contains(out, "app") && strings.Contains(out, repository) {
		t.Errorf("a refused app was made: %s", out)
	}
}

func TestInput_BadVariablesAreRefused(t *testing.T) {
	w := start(t, 1)
	w.create("app", w.repo("app", map[string]string{"index.html": "one"}), 1)
	for _, pair := range []string{"LD_PRELOAD=/tmp/x.so", "A B=1", "1A=2", "PATH=/tmp"} {
		w.refused(2, nil, "apps", "env", "set", "app", pair)
	}
}

func TestInput_RepositoriesThatCannotBeReadFailWithTheReason(t *testing.T) {
	w := start(t, 1)
	w.cli("apps", "create", "gone", "--repository", filepath.Join(w.Dir, "repos", "gone"), "--node", "node-1")
	w.refused(1, []string{"gone"}, "deploy", "gone")

	w.cli("apps", "create", "outside", "--repository", "/etc", "--node", "node-1", "--domain", "outside.example")
	w.refused(1, []string{"/etc", "policy"}, "deploy", "outside")
}

func TestInput_RefThatLooksLikeAShellCommandIsARefLikeAnyOther(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", map[string]string{"index.html": "one"})
	w.shell("git", "-C", r.Dir, "branch", "$(touch${IFS}pwned)")
	w.create("app", r, 1)
	w.cli("deploy", "app", "--ref", "$(touch${IFS}pwned)")
	w.refused(1, []string{"nowhere"}, "deploy", "app", "--ref", "nowhere")
	w.refused(2, nil, "deploy", "app", "--ref=--upload-pack=id")
}

func TestInput_OneVeryLongLineAndBrokenTextDoNotHurt(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", map[string]string{"index.html": "one"})
	w.create("app", r, 1, "--type", "static", "--output", ".",
		"--build-command", `head -c 1073741824 /dev/zero | tr '\0' x; echo; printf '\377\376 broken\n'; echo after`)
	w.cli("deploy", "app")
	log := w.cli("logs", "app", "--build", "1")
	for _, word := range []string{"[cut", "broken", "after"} {
		if !strings.Contains(log, word) {
			t.Errorf("the log of %d bytes does not say %q", len(log), word)
		}
	}
	if len(log) > 1<<20 {
		t.Errorf("the log is %d bytes long, want the line cut", len(log))
	}
}
