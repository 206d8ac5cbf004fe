package release

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

var validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// WriteEnv keeps the variables a release runs with beside it, 0640 root:<app>, in a form that systemd, dotenv and our
// own reader agree on: single quotes where they do, else double ones with \\, ", $ and ` escaped. Names that change how
// programs are loaded are refused. The app sees them as shared/.env once the release is live.
func (d *Dir) WriteEnv(release string, env map[string]string) error {
	if err := CheckName(release); err != nil {
		return err
	}
	text, err := renderEnv(env)
	if err != nil {
		return err
	}
	if err := d.put(envOf(release), text); err != nil {
		return err
	}
	if _, err := d.root.Lstat("shared/.env"); errors.Is(err, fs.ErrNotExist) { // for the very first start
		return d.put("shared/.env", text)
	}
	return nil
}

// EnvFile is the path of the variables a release runs with.
func (d *Dir) EnvFile(release string) string { return filepath.Join(d.path, envOf(release)) }

// publishEnv makes the variables of a release the app's.
func (d *Dir) publishEnv(release string) error {
	b, err := d.root.ReadFile(envOf(release))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read variables of release %s: %w", release, err)
	}
	return d.put("shared/.env", string(b))
}

func envOf(release string) string { return "releases/." + release + ".env" }

func (d *Dir) put(name, text string) error {
	if old, err := d.root.ReadFile(name); err == nil && string(old) == text {
		return nil
	}
	return d.write(name, []byte(text), 0o640, int(d.app.UID))
}

func renderEnv(env map[string]string) (string, error) {
	names := make([]string, 0, len(env))
	for name, value := range env {
		if err := checkVariable(name, value); err != nil {
			return "", err
		}
		names = append(names, name)
	}
	sort.Strings(names)
	var b strings.Builder
	b.WriteString("# Written by gestor. Changes are lost with the next deployment.\n")
	for _, name := range names {
		fmt.Fprintf(&b, "%s=%s\n", name, quote(env[name]))
	}
	return b.String(), nil
}

func checkVariable(name, value string) error {
	if !validVariable.MatchString(name) {
		return fault.Invalid("env", "variable name %q is not letters, digits and underscores", name)
	}
	if strings.HasPrefix(name, "LD_") || name == "BASH_ENV" || name == "ENV" || name == "PATH" {
		return fault.Invalid("env", "variable %s is not allowed: it changes which programs are run", name)
	}
	if strings.ContainsRune(value, 0) {
		return fault.Invalid("env", "variable %s holds a zero byte", name)
	}
	return nil
}

// quote prefers single quotes, inside which all three readers take every character as it is, also a line end.
func quote(v string) string {
	if !strings.Contains(v, "'") && !strings.Contains(v, `\`) {
		return "'" + v + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`, "`", "\\`").Replace(v) + `"`
}
