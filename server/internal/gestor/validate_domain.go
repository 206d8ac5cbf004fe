package gestor

import (
	"net/netip"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

// CheckDomain checks a host name an app answers to: lower-case ASCII labels, of which the first may be "*".
func CheckDomain(field, domain string) error {
	if strings.Contains(domain, "://") || strings.ContainsAny(domain, ":/") {
		return fault.Invalid(field, "%s is more than a name", quote(domain)).WithFix("write the host name alone, without scheme, port or path")
	}
	if _, err := netip.ParseAddr(domain); err == nil {
		return fault.Invalid(field, "%s is an address, not a name", quote(domain)).
			WithFix("leave domains empty to answer to every name and address on the port")
	}
	rest, wildcard := strings.CutPrefix(domain, "*.")
	if err := checkHostname(field, rest); err != nil {
		return err
	}
	if wildcard && !strings.Contains(rest, ".") {
		return fault.Invalid(field, "%s is too wide", quote(domain)).WithFix("use a wildcard under a domain of yours, such as *.example.com")
	}
	return nil
}

const maxHostname, maxLabel = 253, 63

// checkHostname checks a name of lower-case letters, digits and inner hyphens in labels.
func checkHostname(field, name string) error {
	if len(name) == 0 || len(name) > maxHostname {
		return fault.Invalid(field, "a host name has 1 to %d characters", maxHostname)
	}
	for label := range strings.SplitSeq(name, ".") {
		if !isDNSLabel(label) {
			return fault.Invalid(field, "%s is no host name", quote(name)).
				WithFix("use labels of lower-case letters, digits and inner hyphens; write other letters in their xn-- form")
		}
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; only(last, isDigit) {
		return fault.Invalid(field, "%s ends in a number, which is read as an address", quote(name)).WithFix("use a name")
	}
	return nil
}

func isDNSLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return only(s, func(c byte) bool { return isLower(c) || isDigit(c) || c == '-' })
}
