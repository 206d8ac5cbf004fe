package gestor

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/saas-gestor/gestor/proto/fault"
)

// The most bytes of an address and of what stands before its @.
const maxEmail, maxLocal = 254, 64

// CheckEmail checks an e-mail address and returns the form to keep and compare: lower case, the domain in its xn-- form.
// It takes less than the standards do: no quotes, comments or routes, and nothing but ASCII before the @, so that two
// addresses that look alike are the same, and none of them is anything but an address to a mail program.
func CheckEmail(field, s string) (string, error) {
	s = strings.Trim(s, " ")
	local, domain, ok := strings.Cut(s, "@")
	if !ok || len(s) > maxEmail || !utf8.ValidString(s) {
		return "", noEmail(field, s)
	}
	if !isLocal(local) {
		return "", noEmail(field, s).WithFix("use letters, digits and any of . _ + - ' & = ~ before the @")
	}
	domain, err := emailDomain(domain)
	if err != nil {
		return "", noEmail(field, s).WithCause(err)
	}
	email := strings.ToLower(local) + "@" + domain
	if len(email) > maxEmail {
		return "", noEmail(field, s)
	}
	return email, nil
}

// FoldEmail is the form in which an address that somebody typed is looked up. One that CheckEmail refuses is merely in
// lower case: nobody has it, unless from before it was refused.
func FoldEmail(s string) string {
	if email, err := CheckEmail("", s); err == nil {
		return email
	}
	return strings.ToLower(strings.TrimSpace(s))
}

func noEmail(field, s string) *fault.Error {
	return fault.Invalid(field, "%s is no e-mail address", quote(s)).WithFix("write it as name@example.com")
}

// isLocal reports whether s may stand before the @: words of letters, digits and signs with a single dot between them,
// the first of which does not look like an option of a program.
func isLocal(s string) bool {
	if s == "" || len(s) > maxLocal || s[0] == '-' || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	return only(s, func(c byte) bool { return isAlnum(c) || strings.IndexByte("._+-'&=~", c) >= 0 })
}

var errNoForm = errors.New("its xn-- form means another name")

// emailDomain is the ASCII form of a domain.
func emailDomain(s string) (string, error) {
	profile := idna.New(idna.MapForLookup(), idna.BidiRule(), idna.CheckHyphens(true), idna.CheckJoiners(true),
		idna.StrictDomainName(true), idna.ValidateLabels(true), idna.VerifyDNSLength(true))
	ascii, err := profile.ToASCII(s)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w", s, err)
	}
	if again, err := profile.ToASCII(ascii); err != nil || again != ascii {
		return "", fmt.Errorf("domain %q has no one form: %w", s, cmp.Or(err, errNoForm))
	}
	return ascii, checkHostname("", ascii)
}
