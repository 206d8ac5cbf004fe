package gestor

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
)

const maxRepository = 2000

// repositoryForms is the fix for every refused repository.
const repositoryForms = "use https://host/path, ssh://user@host/path, git@host:path or an absolute path"

// refusedSchemes says why a form that git knows is not taken.
var refusedSchemes = map[string]string{
	"http":  "http can be read and changed on the way",
	"git":   "git:// can be read and changed on the way",
	"file":  "file:// is written as an absolute path here",
	"ftp":   "ftp can be read and changed on the way",
	"ftps":  "git has no support for ftps to rely on",
	"ext":   "ext:: runs a command",
	"fd":    "fd:: reaches into the process",
	"rsync": "rsync is not supported by git any more",
}

var (
	scheme  = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):(//|:)`)
	scpForm = regexp.MustCompile(`^([^@/:]+)@([^@/:]+):(.+)$`)
)

// CheckRepository checks where a source is fetched from. The forms are https and ssh, without a password, and a local
// path that the node's own policy must allow too.
func CheckRepository(field, repository string) error {
	if err := checkRepositoryText(field, repository); err != nil {
		return err
	}
	if strings.HasPrefix(repository, "/") {
		return checkLocalPath(field, repository)
	}
	if m := scheme.FindStringSubmatch(repository); m != nil {
		return checkRepositoryURL(field, repository, strings.ToLower(m[1]), m[2])
	}
	if m := scpForm.FindStringSubmatch(repository); m != nil {
		return firstError(checkLogin(field, m[1]), checkRemoteHost(field, m[2]), checkRemotePath(field, m[3]))
	}
	return fault.Invalid(field, "%s is no repository", quote(repository)).WithFix(repositoryForms)
}

func checkRepositoryText(field, repository string) error {
	if repository == "" {
		return fault.Invalid(field, "it says where the source is and must not be empty").WithFix(repositoryForms)
	}
	if repository[0] == '-' {
		return fault.Invalid(field, "it begins with a hyphen, which git takes for an option").WithFix(repositoryForms)
	}
	return firstError(checkLength(field, repository, maxRepository), checkText(field, repository, ""))
}

func checkRepositoryURL(field, repository, scheme, separator string) error {
	if why, refused := refusedSchemes[scheme]; refused {
		return fault.Invalid(field, "%s", why).WithFix(repositoryForms)
	}
	if separator == ":" || (scheme != "https" && scheme != "ssh") {
		return fault.Invalid(field, "%s is not fetched from", quote(scheme+":"+separator)).WithFix(repositoryForms)
	}
	u, err := url.Parse(repository)
	if err != nil { // the error would repeat the address, with a password that may be in it
		return fault.Invalid(field, "it is no valid address").WithFix(repositoryForms)
	}
	if u.RawQuery != "" || u.ForceQuery || strings.Contains(repository, "#") {
		return fault.Invalid(field, "an address of a repository has no ? and no #").WithFix(repositoryForms)
	}
	return firstError(checkUserinfo(field, u), checkRemoteHost(field, u.Hostname()), checkRemotePort(field, u), checkRemotePath(field, rawPath(repository)))
}

// rawPath is the path of an address as it was written; url.URL shows it with its own escapes.
func rawPath(address string) string {
	_, rest, _ := strings.Cut(address, "://")
	_, p, _ := strings.Cut(rest, "/")
	return p
}

func checkUserinfo(field string, u *url.URL) error {
	if u.User == nil {
		if u.Scheme == "ssh" {
			return fault.Invalid(field, "the login is missing").WithFix("write ssh://git@%s%s", short(u.Host), short(u.Path))
		}
		return nil
	}
	if _, has := u.User.Password(); has || u.Scheme == "https" {
		return fault.Invalid(field, "it holds credentials, and a repository's address is no secret").
			WithFix("take them out and give the app's deploy key access to the repository")
	}
	return checkLogin(field, u.User.Username())
}

func checkLogin(field, login string) error {
	if len(login) > 64 || login == "" || login[0] == '-' || !only(login, func(c byte) bool { return isAlnum(c) || strings.IndexByte("._-", c) >= 0 }) {
		return fault.Invalid(field, "%s is no login", quote(login)).WithFix("it is mostly git, as in git@host:path")
	}
	return nil
}

func checkRemoteHost(field, host string) error {
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		return nil
	}
	if err := checkHostname(field, strings.ToLower(host)); err != nil {
		return fault.Invalid(field, "%s is no host", quote(host)).WithFix(repositoryForms)
	}
	return nil
}

func checkRemotePort(field string, u *url.URL) error {
	if u.Port() == "" && !strings.HasSuffix(u.Host, ":") {
		return nil
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err != nil || n == 0 {
		return fault.Invalid(field, "%s is no port", quote(u.Port())).WithFix("use 1 to 65535, or leave it out")
	}
	return nil
}

// checkRemotePath takes the characters paths on git hosts are made of. Shells and option parsers see the path on the
// other side of an ssh connection, so what they give a meaning to is left out.
func checkRemotePath(field, p string) error {
	trimmed := strings.Trim(p, "/")
	if trimmed == "" || trimmed[0] == '-' {
		return fault.Invalid(field, "the path of the repository is missing").WithFix(repositoryForms)
	}
	if !only(p, func(c byte) bool { return isAlnum(c) || strings.IndexByte("._~/%+@,=:-", c) >= 0 }) {
		return fault.Invalid(field, "the path %s holds a character that is not taken", quote(p)).
			WithFix("use letters, digits and any of . _ ~ / + @ , = : - or write the character as %%XX")
	}
	return checkSegments(field, p)
}

func checkLocalPath(field, p string) error {
	if p == "/" || path.Clean(p) != p {
		return fault.Invalid(field, "%s is not a clean path", quote(p)).WithFix("write it without . and .. and without a slash at the end")
	}
	if strings.ContainsAny(p, `\"'`+"`$;") {
		return fault.Invalid(field, "the path %s holds a character that is not taken", quote(p)).WithFix("rename the folder")
	}
	return nil
}

func checkSegments(field, p string) error {
	for s := range strings.SplitSeq(p, "/") {
		if plain, err := url.PathUnescape(s); err != nil || plain == ".." || checkText(field, plain, "") != nil {
			return fault.Invalid(field, "the path holds %s", quote(s)).WithFix("write the path as the git host shows it")
		}
	}
	return nil
}

const maxRef = 250

// CheckRef checks a branch, tag or commit by the rules of git check-ref-format, and that git cannot take it for an
// option. "$(id)" and "a;b" pass, because they are legal names: a ref is only ever one argument of a command, never
// text for a shell. Empty is the default branch.
func CheckRef(field, ref string) error {
	if ref == "" {
		return nil
	}
	if why := refFlaw(ref); why != "" {
		return fault.Invalid(field, "%s %s", quote(ref), why).WithFix("write a branch, a tag or a commit as git shows it")
	}
	return nil
}

func refFlaw(ref string) string {
	switch {
	case len(ref) > maxRef:
		return fmt.Sprintf("is longer than %d bytes", maxRef)
	case !utf8.ValidString(ref) || strings.ContainsFunc(ref, isControl):
		return "holds a control character"
	case ref[0] == '-':
		return "begins with a hyphen, which git takes for an option"
	case ref == "@" || strings.Contains(ref, "@{"):
		return "means something else to git"
	case strings.ContainsAny(ref, " ~^:?*[\\"):
		return "holds one of the characters space ~ ^ : ? * [ \\ which no name has"
	case strings.Contains(ref, "..") || strings.HasSuffix(ref, "."):
		return "holds .. or ends with a dot"
	}
	for part := range strings.SplitSeq(ref, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return "has a part that is empty, begins with a dot or ends with .lock"
		}
	}
	return ""
}

const maxKnownHosts = 20000

// CheckKnownHosts checks lines of an ssh known_hosts file: hosts, key type, key, and perhaps a comment.
func CheckKnownHosts(field, lines string) error {
	if err := firstError(checkLength(field, lines, maxKnownHosts), checkText(field, lines, "\n\t")); err != nil {
		return err
	}
	n := 0
	for line := range strings.SplitSeq(lines, "\n") {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if !isKnownHostsLine(line) {
			return fault.Invalid(field, "line %d is no known_hosts line", n).WithFix("paste what ssh-keyscan prints for the host")
		}
	}
	return nil
}

func isKnownHostsLine(line string) bool {
	parts := strings.Fields(line)
	if len(parts) > 0 && (parts[0] == "@cert-authority" || parts[0] == "@revoked") {
		parts = parts[1:]
	}
	if len(parts) < 3 || parts[0][0] == '-' {
		return false
	}
	blob, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(blob) < 4 {
		return false
	}
	n := int64(binary.BigEndian.Uint32(blob)) // a public key begins with its own type
	return n > 0 && n <= int64(len(blob)-4) && string(blob[4:4+n]) == parts[1]
}

// firstError returns the first that is not nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
