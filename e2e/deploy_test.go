package e2e_test

import (
	"net/http"
	"strings"
	"testing"
)

const nodeServer = `const http = require('http');
const server = http.createServer((req, res) => {
  if (req.url === '/env') return res.end(process.env.GREETING || 'none');
  console.log('asked for ' + req.url);
  res.end('VERSION');
});
server.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => server.close(() => process.exit(0)));
`

func nodeApp(version string) map[string]string {
	return map[string]string{
		"package.json": `{"name":"app","version":"1.0.0","scripts":{"start":"node server.js"}}`,
		"server.js":    strings.ReplaceAll(nodeServer, "VERSION", version),
	}
}

func TestDeploy_StaticSiteGoesLiveOnAllNodesAndBack(t *testing.T) {
	w := start(t, 3)
	r := w.repo("site", map[string]string{"index.html": "one"})
	url := w.create("site", r, 3)
	w.cli("deploy", "site")
	w.serves(url, "one")

	w.commit(r, "index.html", "two")
	w.cli("deploy", "site")
	for _, a := range w.Agents {
		w.serves(addressOf(a), "two")
	}
	if code, _ := w.fetch(url + "missing"); code != http.StatusNotFound {
		t.Errorf("a missing page answers %d, want 404", code)
	}

	w.cli("rollback", "site")
	for _, a := range w.Agents {
		w.serves(addressOf(a), "one")
	}
}

func TestDeploy_NodeAppServesEveryRequestWhileItIsReplaced(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", nodeApp("v0"))
	url := w.create("app", r, 1, "--watch", "1s")
	w.cli("apps", "env", "set", "app", "GREETING=hello there")
	w.cli("deploy", "app")
	w.serves(url, "v0")
	w.serves(url+"env", "hello there")

	result := w.underLoad(url, func() {
		for _, version := range []string{"v1", "v2", "v3"} {
			w.commit(r, "server.js", strings.ReplaceAll(nodeServer, "VERSION", version))
			w.cli("deploy", "app")
		}
		w.cli("rollback", "app")
	})
	if len(result.Failures) > 0 {
		t.Errorf("%d of %d requests failed, the first: %s", len(result.Failures), result.Total, result.Failures[0])
	}
	for _, version := range []string{"v0", "v1", "v2", "v3"} {
		if result.Bodies[version] == 0 {
			t.Errorf("no request was answered by %s: %v", version, result.Bodies)
		}
	}
	w.serves(url, "v2")
	if out := w.cli("logs", "app", "-n", "5"); !strings.Contains(out, "asked for /") {
		t.Errorf("the app's log is %q, want what the app printed", out)
	}
}

func TestDeploy_CreatesTheAppFromWhatItDetects(t *testing.T) {
	w := start(t, 1)
	r := w.repo("fresh-shop", nodeApp("fresh"))
	out, err := w.inDir(r.Dir, "deploy", "--local", "--yes")
	must(t, err)
	for _, word := range []string{"node", "start", "fresh-shop"} {
		if !strings.Contains(out, word) {
			t.Errorf("the command printed %q, want it to say %q", out, word)
		}
	}
	w.serves(addressOf(w.Agents[0]), "fresh")
}

func TestDeploy_TwoAtOnceOfOneAppIsRefusedWithWhoHoldsTheLock(t *testing.T) {
	w := start(t, 1)
	r := w.repo("app", map[string]string{"index.html": "one"})
	w.create("app", r, 1, "--build-command", "read line < gate", "--type", "static", "--output", ".")
	w.commit(r, "build.txt", "x")
	w.cli("apps", "set", "app", "--build-command", "tail -f /dev/null")
	first := w.background("deploy", "app")
	w.until("the first deployment to build", func() bool { return w.taskIn("app", "build", "RUNNING") })

	w.refused(5, []string{"admin@example.com", "app"}, "deploy", "app")

	w.cli("deployments", "cancel", w.deployments("app")[0].ID)
	if err := first(); err == nil {
		t.Error("the cancelled deployment's command ended with 0")
	}
}
