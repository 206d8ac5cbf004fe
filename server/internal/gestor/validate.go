package gestor

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
)

// The checks of this package take the name of the field they look at, as the contract spells it
// ("settings.domains[1]"), and return a fault.KindInvalid that names it and says what to write instead. A value that
// passed is safe where it ends up: on a command line, in a web server's or a unit's file, in a path. The places that
// render it check it again in their own terms.

// reservedSlugs are folder, user and unit names with a meaning of their own on the hosts.
var reservedSlugs = map[string]bool{
	"current": true, "releases": true, "shared": true, "root": true, "gestor": true, "gestor-agent": true,
	"gestor-server": true, "gestor-build": true, "deploy": true, "admin": true, "sudo": true, "daemon": true, "bin": true,
	"sys": true, "sync": true, "games": true, "man": true, "lp": true, "mail": true, "news": true, "uucp": true,
	"proxy": true, "www-data": true, "backup": true, "list": true, "irc": true, "gnats": true, "nobody": true,
	"messagebus": true, "sshd": true, "nginx": true, "mysql": true, "mariadb": true, "postgres": true, "redis": true,
	"docker": true, "adm": true, "wheel": true, "staff": true, "users": true, "nogroup": true, "lost-found": true,
}

const maxSlug = 28

// CheckSlug checks the name of an app: its folder, user and unit on the hosts.
func CheckSlug(field, slug string) error {
	if !isName(slug, maxSlug) {
		return fault.Invalid(field, "%s is no slug", quote(slug)).
			WithFix("use at most %d lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen", maxSlug)
	}
	if reservedSlugs[slug] {
		return fault.Invalid(field, "%s has a meaning of its own on the hosts", quote(slug)).
			WithFix("choose another, such as %q", slug+"-app")
	}
	return nil
}

const maxNodeName = 63

// CheckNodeName checks the name of a node, a DNS label beginning with a letter.
func CheckNodeName(field, name string) error {
	if !isName(name, maxNodeName) {
		return fault.Invalid(field, "%s is no name for a node", quote(name)).
			WithFix("use at most %d lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen", maxNodeName)
	}
	return nil
}

// CheckLabels checks the labels of a node.
func CheckLabels(field string, labels map[string]string) error {
	for name, value := range labels {
		at := fmt.Sprintf("%s[%s]", field, short(name))
		if name == "" || len(name) > 63 || !only(name, isLabelByte) {
			return fault.Invalid(at, "a label's name is 1 to 63 letters, digits and any of . _ - /")
		}
		if len(value) > 63 || !only(value, isLabelByte) {
			return fault.Invalid(at, "a label's value is at most 63 letters, digits and any of . _ - /")
		}
	}
	return nil
}

// CheckPort checks a port the web server is to listen on; 0 leaves the choice to the node.
func CheckPort(field string, port int) error {
	if port < 0 || port > 65535 {
		return fault.Invalid(field, "%d is no port", port).WithFix("use 1 to 65535, or 0 for the node's HTTP port")
	}
	return nil
}

// isName reports whether s is 1 to most lower-case letters, digits and inner hyphens, a letter first.
func isName(s string, most int) bool {
	if s == "" || len(s) > most || s[0] < 'a' || s[0] > 'z' || s[len(s)-1] == '-' {
		return false
	}
	return only(s, func(c byte) bool { return isLower(c) || isDigit(c) || c == '-' })
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlnum(c byte) bool { return isLower(c) || isUpper(c) || isDigit(c) }

func isLabelByte(c byte) bool { return isAlnum(c) || strings.IndexByte("._-/", c) >= 0 }

// only reports whether every byte of s satisfies ok.
func only(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}

// checkText refuses what no single line of text holds: bytes that are not UTF-8, and control characters except
// those of allowed.
func checkText(field, s, allowed string) error {
	if !utf8.ValidString(s) {
		return fault.Invalid(field, "it is not valid UTF-8")
	}
	for _, r := range s {
		if isControl(r) && !strings.ContainsRune(allowed, r) {
			return fault.Invalid(field, "it holds the control character %U", r).WithFix("take it out; one line of plain text is expected")
		}
	}
	return nil
}

// isControl holds for C0, DEL, C1 and the line and paragraph separators, which some parsers take for line ends.
func isControl(r rune) bool {
	return r < 0x20 || (r >= 0x7f && r <= 0x9f) || r == 0x2028 || r == 0x2029
}

// checkLength refuses more than most bytes.
func checkLength(field, s string, most int) error {
	if len(s) > most {
		return fault.Invalid(field, "it has %d bytes, %d are allowed", len(s), most)
	}
	return nil
}

// quote shows a refused value to people: escaped and not longer than a line.
func quote(s string) string { return fmt.Sprintf("%q", short(s)) }

// short cuts s to what fits in a message.
func short(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
