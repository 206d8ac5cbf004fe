package javascript

import (
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/saas-gestor/gestor/plugins/runner"
)

// Entry is the file that node would be started with if there is no start script; empty if there is none.
func (m Manifest) Entry(s runner.Source) string {
	names := []string{"server.js", "app.js", "index.js", "server.mjs", "index.mjs"}
	if m.Main != "" {
		names = append([]string{path.Clean(m.Main)}, names...)
	}
	for _, name := range names {
		if entryName.MatchString(name) && s.IsFile(name) {
			return name
		}
	}
	return ""
}

// entryName keeps out what a shell would understand: the name becomes a part of a command line.
var entryName = regexp.MustCompile(`^[\w@][\w./@-]*\.(js|mjs|cjs)$`)

// A framework builds files that a web server serves.
type framework struct{ pkg, name, output string }

func frameworks() []framework {
	return []framework{
		{"astro", "Astro", "dist"},
		{"@docusaurus/core", "Docusaurus", "build"},
		{"vitepress", "VitePress", ""},
		{"gatsby", "Gatsby", "public"},
		{"@11ty/eleventy", "Eleventy", "_site"},
		{"react-scripts", "Create React App", "build"},
		{"@angular/cli", "Angular", ""},
		{"@vue/cli-service", "Vue CLI", "dist"},
		{"parcel", "Parcel", "dist"},
		{"vite", "Vite", "dist"},
	}
}

// StaticFramework is the name of the site generator the project uses and the folder it writes to, if known; empty if
// there is none.
func (m Manifest) StaticFramework(s runner.Source) (name, output string) {
	if m.DependsOn("next") {
		if exportsStatic(s) {
			return "Next.js with output: export", "out"
		}
		return "", ""
	}
	if m.DependsOn("@astrojs/node") || m.DependsOn("@sveltejs/adapter-node") {
		return "", ""
	}
	for _, f := range frameworks() {
		if m.DependsOn(f.pkg) {
			return f.name, f.output
		}
	}
	return "", ""
}

var nextExport = regexp.MustCompile(`(?m)^[^/\n]*\boutput\s*:\s*['"]export['"]`)

func exportsStatic(s runner.Source) bool {
	for _, name := range []string{"next.config.js", "next.config.mjs", "next.config.ts", "next.config.cjs"} {
		if b, err := s.ReadFile(name); err == nil && nextExport.Match(b) {
			return true
		}
	}
	return false
}

// previews are commands that serve a site for the person who writes it.
var previews = regexp.MustCompile(`^(?:npx\s+)?(?:vite|astro|gatsby|ng|parcel|serve|http-server|live-server|react-scripts|` +
	`docusaurus|vitepress|eleventy|vue-cli-service|webpack|webpack-dev-server|next\s+dev|npm\s+run\s+dev)(?:\s|$)`)

// IsServer tells whether the project is a program to keep running, and says in a sentence why or why not.
func (m Manifest) IsServer(s runner.Source) (server bool, why string) {
	if s.IsFile("Procfile") {
		return true, "There is a Procfile."
	}
	generator, _ := m.StaticFramework(s)
	start := strings.TrimSpace(m.Scripts["start"])
	switch {
	case start != "" && previews.MatchString(start):
		return false, fmt.Sprintf("The start script %q only previews the site while one writes it.", start)
	case start != "":
		return true, "package.json has a start script."
	case generator != "":
		return false, fmt.Sprintf("%s builds files for a web server, and there is no start script.", generator)
	case m.Entry(s) != "" && (m.Scripts["build"] == "" || !s.IsFile("index.html")):
		return true, fmt.Sprintf("There is %s.", m.Entry(s))
	default:
		return false, "package.json has no start script, and there is no server.js, app.js or index.js."
	}
}
