package release

import (
	"fmt"
	"regexp"
	"sort"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

var validVariable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// WriteEnv replaces the app's env file, 0640 root:<app>, in a form that systemd, dotenv and our own reader agree on:
// single quotes where they do, else double ones with \\, ", $ and ` escaped. Names that change how programs are
// loaded are refused.
func (d *Dir) WriteEnv(env map[string]string) error {
	text, err := renderEnv(env)
	if err != nil {
		return err
	}
	if old, err := d.root.ReadFile("shared/.env"); err == nil && string(old) == text {
		return nil
	}
	return d.write("shared/.env", []byte(text), 0o640, int(d.app.UID))
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
