package javascript

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/saas-gestor/gestor/plugins/runner"
)

// Manager is a package manager and how a project uses it.
type Manager struct {
	// Name is "npm", "pnpm" or "yarn".
	Name string
	// Version is exact, or empty for the npm that is on the host.
	Version string
	// Lockfile is its lockfile's name; empty if the project has none.
	Lockfile string
	// Why tells for people how it was chosen.
	Why string

	berry bool // yarn 2 and later
	whole bool // the project is a workspace with packages below it
}

// The versions that are used when a project names none.
const (
	pnpm7  = "7.33.7"
	pnpm8  = "8.15.9"
	pnpm9  = "9.15.9"
	yarn1  = "1.22.22"
	yarn4  = "4.9.2"
	berryP = "@yarnpkg/cli-dist"
)

var packageManager = regexp.MustCompile(`^(npm|pnpm|yarn)@(\d+\.\d+\.\d+[0-9A-Za-z.-]*)(\+.*)?$`)

// ChooseManager decides by the packageManager field and the lockfiles.
func ChooseManager(s runner.Source, m Manifest) (Manager, error) {
	c := byLockfile(s)
	if m.PackageManager != "" {
		parts := packageManager.FindStringSubmatch(m.PackageManager)
		if parts == nil {
			return Manager{}, fmt.Errorf("packageManager in package.json is %q: npm, pnpm or yarn with an exact version "+
				"can be used, such as pnpm@%s", m.PackageManager, pnpm9)
		}
		if c.Name != parts[1] {
			c.Lockfile = ""
		}
		c.Name, c.Version, c.Why = parts[1], parts[2], "packageManager in package.json"
		c.berry = c.Name == "yarn" && !strings.HasPrefix(c.Version, "1.")
	}
	if c.Name == "" {
		return Manager{}, errors.New("bun's lockfile cannot be used; commit a package-lock.json, pnpm-lock.yaml or yarn.lock")
	}
	if c.Name == "npm" {
		c.Version = "" // npm is whatever the host has: it reads every lockfile
	}
	c.whole = m.Workspaces != nil
	return c, nil
}

func byLockfile(s runner.Source) Manager {
	for _, name := range []string{"package-lock.json", "npm-shrinkwrap.json"} {
		if s.IsFile(name) {
			return Manager{Name: "npm", Lockfile: name, Why: "there is a " + name}
		}
	}
	if b, err := s.ReadFile("pnpm-lock.yaml"); err == nil {
		return Manager{Name: "pnpm", Version: pnpmFor(b), Lockfile: "pnpm-lock.yaml", Why: "there is a pnpm-lock.yaml"}
	}
	if b, err := s.ReadFile("yarn.lock"); err == nil {
		c := Manager{Name: "yarn", Version: yarn1, Lockfile: "yarn.lock", Why: "there is a yarn.lock"}
		if strings.Contains(string(b), "__metadata:") {
			c.Version, c.berry = yarn4, true
		}
		return c
	}
	if s.IsFile("bun.lockb") || s.IsFile("bun.lock") {
		return Manager{}
	}
	return Manager{Name: "npm", Why: "there is no lockfile"}
}

var lockfileVersion = regexp.MustCompile(`(?m)^lockfileVersion:\s*'?"?(\d+)`)

func pnpmFor(lockfile []byte) string {
	m := lockfileVersion.FindSubmatch(lockfile)
	switch {
	case m == nil:
		return pnpm9
	case string(m[1]) == "5":
		return pnpm7
	case string(m[1]) == "6":
		return pnpm8
	default:
		return pnpm9
	}
}

// argv is a call of the package manager.
func (c Manager) argv(args ...string) []string {
	switch {
	case c.Name == "npm":
		return append([]string{"npm"}, args...)
	case c.berry:
		return append([]string{"npm", "exec", "--yes", "--package=" + berryP + "@" + c.Version, "--", "yarn"}, args...)
	default:
		return append([]string{"npm", "exec", "--yes", "--package=" + c.Name + "@" + c.Version, "--", c.Name}, args...)
	}
}

// npm is a call that changes node_modules. For one package of a workspace they must be in its own folder, because
// nothing above it becomes part of the release.
func (c Manager) npm(args ...string) []string {
	args = append(args, "--no-audit", "--no-fund")
	if !c.whole {
		args = append(args, "--no-workspaces")
	}
	return c.argv(args...)
}

func (c Manager) install() []string {
	switch {
	case c.Name == "npm" && c.Lockfile == "":
		return c.npm("install", "--include=dev", "--no-package-lock")
	case c.Name == "npm":
		return c.npm("ci", "--include=dev")
	case c.berry && c.Lockfile != "":
		return c.argv("install", "--immutable")
	case c.berry:
		return c.argv("install")
	case c.Name == "pnpm":
		return c.argv(append([]string{"install", "--prod=false"}, c.frozen()...)...)
	default:
		return c.argv(append([]string{"install", "--production=false", "--non-interactive"}, c.frozen()...)...)
	}
}

// frozen makes an install fail rather than change the lockfile.
func (c Manager) frozen() []string {
	switch {
	case c.Lockfile != "":
		return []string{"--frozen-lockfile"}
	case c.Name == "pnpm":
		return []string{"--no-frozen-lockfile"}
	default:
		return nil
	}
}

// prune removes what only the build needed; nil if the manager has no safe way.
func (c Manager) prune() []string {
	switch {
	case c.Name == "npm":
		return c.npm("prune", "--omit=dev")
	case c.Name == "pnpm":
		return c.argv("prune", "--prod")
	case c.berry && strings.HasPrefix(c.Version, "4."):
		return c.argv("workspaces", "focus", "--production")
	case c.berry || c.Lockfile == "":
		return nil
	default:
		return c.argv("install", "--production", "--ignore-scripts", "--prefer-offline", "--non-interactive", "--frozen-lockfile")
	}
}

// RunScript is the call that runs a script of package.json.
func (c Manager) RunScript(name string) []string { return c.argv("run", name) }

// cacheDirs are the manager's stores that are kept between builds.
func (c Manager) cacheDirs() map[string]string {
	dirs := map[string]string{"npm_config_cache": "npm"}
	switch {
	case c.Name == "pnpm":
		dirs["npm_config_store_dir"] = "pnpm"
	case c.berry:
		dirs["YARN_GLOBAL_FOLDER"] = "yarn-berry"
	case c.Name == "yarn":
		dirs["YARN_CACHE_FOLDER"] = "yarn"
	}
	return dirs
}

// env are variables every call of the manager needs.
func (c Manager) env() map[string]string {
	env := map[string]string{"npm_config_update_notifier": "false", "npm_config_loglevel": "warn"}
	if c.berry {
		env["YARN_NODE_LINKER"] = "node-modules" // releases are started by plain node
		env["YARN_ENABLE_TELEMETRY"] = "0"
	}
	return env
}
