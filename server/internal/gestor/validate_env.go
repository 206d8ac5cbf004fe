package gestor

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Bounds of an app's variables. Together they stay far below what the kernel takes for a new program (2 MiB) and
// what one command may weigh.
const (
	MaxEnvName  = 128
	MaxEnvValue = 32 << 10
	MaxEnvVars  = 500
	MaxEnvBytes = 512 << 10 // names and values of one change
)

// reservedEnv says why a name cannot be set. NODE_OPTIONS and its like are allowed: who sets variables chooses the
// build and start commands as well, and programs need them (--max-old-space-size).
var reservedEnv = map[string]string{
	"PATH":          "the runtime sets it, so that the right interpreter is found",
	"HOME":          "Gestor sets it to the app's own folder",
	"PORT":          "Gestor sets it: a new release starts on a port of its own beside the live one",
	"BASH_ENV":      "shells run the file it names",
	"ENV":           "shells run the file it names",
	"SHELLOPTS":     "it changes what shells do",
	"BASHOPTS":      "it changes what shells do",
	"IFS":           "it changes what shells do",
	"PS4":           "shells run what is in it",
	"NOTIFY_SOCKET": "it belongs to the supervisor",
	"LISTEN_FDS":    "it belongs to the supervisor",
	"LISTEN_PID":    "it belongs to the supervisor",
}

// reservedEnvPrefixes does the same for families of names.
var reservedEnvPrefixes = map[string]string{
	"LD_":        "the loader of the host's own programs reads it",
	"GESTOR_":    "Gestor sets these (GESTOR_RELEASE, GESTOR_COMMIT …)",
	"BASH_FUNC_": "shells read functions from it",
}

// CheckEnvName checks the name of a variable.
func CheckEnvName(field, name string) error {
	if !isEnvName(name) {
		return fault.Invalid(field, "%s is no name for a variable", quote(name)).
			WithFix("use at most %d letters, digits and underscores, not beginning with a digit", MaxEnvName)
	}
	if why := reservedEnvReason(name); why != "" {
		return fault.Invalid(field, "%s cannot be set: %s", name, why).WithFix("use another name")
	}
	return nil
}

func isEnvName(name string) bool {
	if name == "" || len(name) > MaxEnvName || isDigit(name[0]) {
		return false
	}
	return only(name, func(c byte) bool { return isAlnum(c) || c == '_' })
}

func reservedEnvReason(name string) string {
	for prefix, why := range reservedEnvPrefixes {
		if strings.HasPrefix(name, prefix) {
			return why
		}
	}
	return reservedEnv[name]
}

// CheckEnvValue checks the value of a variable. New lines are allowed, because the agent quotes what it writes; the
// value itself is in no message.
func CheckEnvValue(field, value string) error {
	switch {
	case len(value) > MaxEnvValue:
		return fault.Invalid(field, "the value has %d bytes, %d are allowed", len(value), MaxEnvValue).
			WithFix("put it in a file of the shared directory and name the file")
	case !utf8.ValidString(value):
		return fault.Invalid(field, "the value is not valid UTF-8").WithFix("encode it, for example as base64")
	case strings.ContainsRune(value, 0):
		return fault.Invalid(field, "the value holds a NUL, which no variable can").WithFix("encode it, for example as base64")
	}
	return nil
}

// CheckEnv checks a change of variables: what is set and what is removed.
func CheckEnv(set map[string]string, unset []string) error {
	if len(set) > MaxEnvVars {
		return fault.Invalid("set", "%d variables at once, %d are allowed", len(set), MaxEnvVars)
	}
	total := 0
	for _, name := range sortedKeys(set) {
		at := fmt.Sprintf("set[%s]", short(name))
		if err := firstError(CheckEnvName(at, name), CheckEnvValue(at, set[name])); err != nil {
			return err
		}
		total += len(name) + len(set[name])
	}
	if total > MaxEnvBytes {
		return fault.Invalid("set", "the variables have %d bytes together, %d are allowed", total, MaxEnvBytes)
	}
	return checkUnset(set, unset)
}

// checkUnset takes any well-formed name, reserved ones too, so that what is there can always be removed.
func checkUnset(set map[string]string, unset []string) error {
	for i, name := range unset {
		if !isEnvName(name) {
			return fault.Invalid(index("unset", i), "%s is no name for a variable", quote(name))
		}
		if _, both := set[name]; both {
			return fault.Invalid(index("unset", i), "%s is set and removed at once", name).WithFix("do one of the two")
		}
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// index names an item of a repeated field.
func index(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
