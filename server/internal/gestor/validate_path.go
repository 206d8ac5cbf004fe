package gestor

import (
	"path"
	"strings"
	"unicode"

	"github.com/saas-gestor/gestor/proto/fault"
)

const (
	maxPath       = 500
	maxSharedPath = 300
	maxHealthPath = 1000
	maxPathDepth  = 32
)

// CheckPath checks a path inside a repository or a release: relative, clean, of letters, digits and . _ - + @ = , only,
// because it ends up in the files of the web server. Empty passes, and so does ".".
func CheckPath(field, p string) error {
	if p == "" || p == "." {
		return nil
	}
	if err := firstError(checkLength(field, p, maxPath), checkText(field, p, "")); err != nil {
		return err
	}
	if strings.HasPrefix(p, "/") || strings.Contains(p, `\`) {
		return fault.Invalid(field, "%s is not a relative path", quote(p)).WithFix("write it from the top of the repository, with /")
	}
	if path.Clean(p) != p || p == ".." || strings.HasPrefix(p, "../") {
		return fault.Invalid(field, "%s is not a clean path", quote(p)).WithFix("write it without . and .. and without double slashes")
	}
	return checkPathParts(field, p)
}

func checkPathParts(field, p string) error {
	if strings.Count(p, "/") >= maxPathDepth {
		return fault.Invalid(field, "it is more than %d folders deep", maxPathDepth)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part[0] == '-' {
			return fault.Invalid(field, "%s begins with a hyphen, which programs take for an option", quote(part)).WithFix("rename it")
		}
		if strings.EqualFold(part, ".git") {
			return fault.Invalid(field, "%s is git's own folder", quote(part)).WithFix("choose another")
		}
	}
	if i := strings.IndexFunc(p, func(r rune) bool { return !isPathRune(r) }); i >= 0 {
		return fault.Invalid(field, "%s holds a character that is not taken", quote(p)).WithFix("use letters, digits and any of . _ - + @ = , ~ /")
	}
	return nil
}

func isPathRune(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r) || strings.ContainsRune("._-+@=,~/", r)
}

// CheckShared checks the paths of a release that are links into the shared directory: none may be the whole
// release, lie in another or in uploads or logs, which each app has, or be .env, which is made of the app's variables.
// They become parts of units and files of the web server, so that only plain characters are taken.
func CheckShared(field string, paths []string) error {
	for i, p := range paths {
		at := index(field, i)
		if p == "" || p == "." {
			return fault.Invalid(at, "the whole release cannot be shared").WithFix("name a folder or a file in it")
		}
		if err := firstError(CheckPath(at, p), checkLength(at, p, maxSharedPath)); err != nil {
			return err
		}
		if err := checkSharedPlace(at, p); err != nil {
			return err
		}
		for _, other := range paths[:i] {
			if p == other || strings.HasPrefix(p, other+"/") || strings.HasPrefix(other, p+"/") {
				return fault.Invalid(at, "%s and %s lie in each other", quote(p), quote(other)).WithFix("keep one of them")
			}
		}
	}
	return nil
}

func checkSharedPlace(at, p string) error {
	if !only(p, isSharedByte) {
		return fault.Invalid(at, "%s holds a character that is not taken in a shared path", quote(p)).
			WithFix("use letters of ASCII, digits and any of . _ - /")
	}
	switch top, _, nested := strings.Cut(p, "/"); {
	case top == ".env":
		return fault.Invalid(at, ".env is made of the app's variables").WithFix("leave it out and set the variables")
	case top == "logs":
		return fault.Invalid(at, "logs is where the app's log is written").WithFix("leave it out, or share a folder with another name")
	case top == "uploads" && nested:
		return fault.Invalid(at, "%s lies in uploads, all of which is shared already", quote(p)).WithFix("leave it out")
	case top == ".gestor-new":
		return fault.Invalid(at, "%s is a name of Gestor's own", quote(top)).WithFix("rename it")
	}
	return nil
}

func isSharedByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("._-/", c) >= 0
}

// CheckHealthPath checks the path of a health check: the path and query of an address, as it goes into a request line.
func CheckHealthPath(field, p string) error {
	if p == "" {
		return nil
	}
	if err := checkLength(field, p, maxHealthPath); err != nil {
		return err
	}
	if p[0] != '/' || strings.HasPrefix(p, "//") {
		return fault.Invalid(field, "%s does not begin with one slash", quote(p)).WithFix("write it like /health")
	}
	if !only(p, isHealthByte) {
		return fault.Invalid(field, "%s holds a character that is not taken", quote(p)).
			WithFix("use printable ASCII without spaces, quotes and any of ; { } < > \\ ^ | $ #, or write the character as %%XX")
	}
	return nil
}

func isHealthByte(c byte) bool {
	return c > 0x20 && c < 0x7f && strings.IndexByte("\"'`;{}<>\\^|$#", c) < 0
}
