// Package javascript is what the runners of JavaScript projects share: reading package.json, choosing the package
// manager by the lockfile, and installing with a cache. It decides; running is the host's.
package javascript

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/plugins/runner"
)

// Manifest is the part of package.json that matters.
type Manifest struct {
	Name            string            `json:"name"`
	Main            string            `json:"main"`
	Scripts         map[string]string `json:"scripts"`
	Engines         engines           `json:"engines"`
	Dependencies    map[string]string `json:"dependencies"`
	DevDependencies map[string]string `json:"devDependencies"`
	Optional        map[string]string `json:"optionalDependencies"`
	PackageManager  string            `json:"packageManager"`
	Workspaces      any               `json:"workspaces"`
}

// engines tolerates the old form, a list, which says nothing useful.
type engines struct{ Node string }

// UnmarshalJSON reads an object and ignores anything else.
func (e *engines) UnmarshalJSON(b []byte) error {
	m := enginesNode.FindSubmatch(b)
	if m != nil {
		e.Node = string(m[1])
	}
	return nil
}

var enginesNode = regexp.MustCompile(`^\s*\{[^}]*"node"\s*:\s*"([^"\\]*)"`)

// ReadManifest reads package.json and tells whether there is one.
func ReadManifest(s runner.Source) (Manifest, bool, error) {
	var m Manifest
	ok, err := s.ReadJSON("package.json", &m)
	return m, ok, err
}

// HasDependencies tells whether there is anything to install.
func (m Manifest) HasDependencies() bool {
	return len(m.Dependencies)+len(m.DevDependencies)+len(m.Optional) > 0 || m.Workspaces != nil
}

// DependsOn tells whether a package is asked for, in whatever way.
func (m Manifest) DependsOn(name string) bool {
	_, runtime := m.Dependencies[name]
	_, development := m.DevDependencies[name]
	return runtime || development
}

// NodeVersion tells which versions of node the project asks for and where it says so; both empty if it does not.
func (m Manifest) NodeVersion(s runner.Source) (versions, from string) {
	if v := strings.TrimSpace(m.Engines.Node); v != "" {
		return v, "engines in package.json"
	}
	for _, name := range []string{".nvmrc", ".node-version"} {
		b, err := s.ReadFile(name)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
		if first = strings.TrimSpace(first); first != "" {
			return first, name
		}
	}
	return "", ""
}

// RuntimeText is the runtime for people: "node >=20 (engines in package.json)".
func (m Manifest) RuntimeText(s runner.Source) string {
	versions, from := m.NodeVersion(s)
	if versions == "" {
		return "node, the host's version"
	}
	return fmt.Sprintf("node %s (%s)", versions, from)
}

// local tells whether a dependency is a part of the tree, so that a lockfile does not say what is in it.
func (m Manifest) local() bool {
	for _, deps := range []map[string]string{m.Dependencies, m.DevDependencies, m.Optional} {
		for v := range maps.Values(deps) {
			if slices.ContainsFunc([]string{"file:", "link:", "workspace:", "portal:", "patch:", "."},
				func(p string) bool { return strings.HasPrefix(v, p) }) {
				return true
			}
		}
	}
	return m.Workspaces != nil
}

// installScripts tells whether installing runs scripts of the project itself, which may read anything.
func (m Manifest) installScripts() bool {
	return slices.ContainsFunc([]string{"preinstall", "install", "postinstall", "prepare"},
		func(s string) bool { return m.Scripts[s] != "" })
}
