package source

import (
	"net/url"
	"path"
	"strings"
	"unicode"
)

// Same reports whether two addresses mean the same repository: git@host:a/b, ssh://git@host/a/b.git and
// https://host/a/b do. Paths keep their case; hosts do not.
func Same(a, b string) bool {
	a, b = normal(a), normal(b)
	return a != "" && a == b
}

// normal is host/path without scheme, user, default port and ".git"; a local path is itself.
func normal(address string) string {
	address = strings.TrimSpace(address)
	if strings.HasPrefix(address, "/") {
		return trimmed(path.Clean(address))
	}
	if rest, ok := strings.CutPrefix(address, "file://"); ok {
		return trimmed(path.Clean("/" + strings.TrimLeft(rest, "/")))
	}
	if !strings.Contains(address, "://") {
		return scpLike(address)
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	return join(u.Hostname(), port(u), u.Path)
}

// scpLike is git's short form, [user@]host:path.
func scpLike(address string) string {
	host, file, ok := strings.Cut(address, ":")
	if !ok || strings.Contains(host, "/") {
		return ""
	}
	if at := strings.LastIndex(host, "@"); at >= 0 {
		host = host[at+1:]
	}
	return join(host, "", file)
}

func port(u *url.URL) string {
	switch u.Scheme + u.Port() {
	case u.Scheme, "https443", "http80", "ssh22", "git9418":
		return ""
	default:
		return ":" + u.Port()
	}
}

func join(host, port, file string) string {
	return strings.ToLower(host) + port + trimmed(path.Clean("/"+file))
}

func trimmed(p string) string { return strings.TrimSuffix(strings.TrimRight(p, "/"), ".git") }

// StripCredentials takes the password, and for https the user too, out of an address.
func StripCredentials(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User == nil || !strings.Contains(address, "://") {
		return address
	}
	if u.Scheme == "http" || u.Scheme == "https" {
		u.User = nil
	} else {
		u.User = url.User(u.User.Username())
	}
	return u.String()
}

// Slug proposes an app's slug from an address: the last part of its path in lower-case letters, digits and hyphens.
func Slug(address string) string {
	name := path.Base(trimmed(strings.ReplaceAll(address, ":", "/")))
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		switch {
		case r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	slug := strings.TrimLeft(b.String(), "-0123456789")
	slug = strings.Trim(slug[:min(len(slug), maxSlug)], "-")
	if slug == "" {
		return "app"
	}
	return slug
}

// maxSlug is how long a slug may be, as in CreateAppRequest.
const maxSlug = 28
