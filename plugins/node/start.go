package node

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/saas-gestor/gestor/plugins/javascript"
	"github.com/saas-gestor/gestor/plugins/runner"
)

// startCommand finds how the program is started and says in a sentence why, or why not.
func startCommand(s runner.Source, m javascript.Manifest) (command, why string) {
	if web := procfileWeb(s); web != "" {
		return web, "The Procfile has a web line."
	}
	if script := strings.TrimSpace(m.Scripts["start"]); script != "" {
		return direct(s, m, script), fmt.Sprintf("The start script in package.json is %q.", script)
	}
	if entry := m.Entry(s); entry != "" {
		return "node " + entry, fmt.Sprintf("There is no start script, but there is %s.", entry)
	}
	return "", "There is no start script, no Procfile, and no server.js, app.js or index.js."
}

func procfileWeb(s runner.Source) string {
	b, err := s.ReadFile("Procfile")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "web:"); ok {
			return strings.TrimSpace(command)
		}
	}
	return ""
}

// A simple script has only words: it means the same with and without npm around it.
var simple = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*=[\w./:@-]*\s+)*([\w.-]+)(?:\s+[\w./:@=,-]+)*$`)

// direct turns a start script into a command without npm between the supervisor and the program, which would be one
// process more and one that does not hand signals on reliably.
func direct(s runner.Source, m javascript.Manifest, script string) string {
	parts := simple.FindStringSubmatch(script)
	if parts == nil || m.Scripts["prestart"] != "" || m.Scripts["poststart"] != "" {
		return "npm start"
	}
	program := parts[1]
	if program == "node" {
		return script
	}
	if bin := path.Join("node_modules/.bin", program); strings.HasPrefix(script, program) && s.IsFile(bin) {
		return "./" + path.Dir(bin) + "/" + script
	}
	return "npm start"
}
