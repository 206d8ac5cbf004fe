package source

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
)

// Policy is what the owner of the host allows beyond the usual.
type Policy struct {
	// LocalPrefixes are folders whose repositories may be named by path; none by default.
	LocalPrefixes []string
	// PrivateHosts are host names that may resolve to loopback, link-local and private addresses; "*" allows all.
	PrivateHosts []string
}

// Address is a repository's address, checked.
type Address struct {
	// Protocol is "https", "ssh" or "file".
	Protocol string
	// URL is what git is given.
	URL string
	// Host is the name to connect to; empty for files.
	Host string
	// Port is set if it is not the usual one.
	Port string
}

var (
	scpForm  = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9_.-]*)@([A-Za-z0-9][A-Za-z0-9.-]*):([^:\s][^\s]*)$`)
	hostName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)
	control  = regexp.MustCompile(`[\x00-\x20\x7f]`)
)

// ParseAddress checks a repository's address against the rules and the host's policy.
func ParseAddress(repository string, p Policy) (Address, error) {
	switch {
	case repository == "":
		return Address{}, bad("is empty")
	case len(repository) > 2000:
		return Address{}, bad("is longer than 2000 characters")
	case control.MatchString(repository):
		return Address{}, bad("has spaces or control characters in it")
	case strings.HasPrefix(repository, "/"):
		return localAddress(repository, p)
	}
	if m := scpForm.FindStringSubmatch(repository); m != nil && !strings.HasPrefix(m[3], "-") {
		return Address{Protocol: "ssh", URL: repository, Host: m[2]}, nil
	}
	return urlAddress(repository)
}

func bad(why string) error {
	return fault.Invalid("repository", "the address %s", why).
		WithFix("use https://host/path, ssh://git@host/path or git@host:path")
}

func urlAddress(repository string) (Address, error) {
	u, err := url.Parse(repository)
	if err != nil || u.Opaque != "" || (u.Scheme != "https" && u.Scheme != "ssh") {
		return Address{}, bad("is not one that may be used")
	}
	if _, hasPassword := u.User.Password(); hasPassword || (u.Scheme == "https" && u.User != nil) {
		return Address{}, fault.Invalid("repository", "the address has a password or user in it").
			WithFix("take it out and use the app's deploy key with the ssh address")
	}
	if u.User != nil && !userName.MatchString(u.User.Username()) {
		return Address{}, bad("has a strange user")
	}
	isIP := strings.HasPrefix(u.Host, "[")
	if _, err := netip.ParseAddr(u.Hostname()); (isIP && err != nil) || (!isIP && !hostName.MatchString(u.Hostname())) {
		return Address{}, bad("has no proper host")
	}
	if u.RawQuery != "" || u.Fragment != "" || strings.HasPrefix(strings.TrimLeft(u.Path, "/"), "-") || len(u.Path) < 2 {
		return Address{}, bad("has no proper path")
	}
	return Address{Protocol: u.Scheme, URL: repository, Host: u.Hostname(), Port: u.Port()}, nil
}

func localAddress(path string, p Policy) (Address, error) {
	clean := filepath.Clean(path)
	if resolved, err := filepath.EvalSymlinks(clean); err == nil {
		clean = resolved // a link must not lead out of what is allowed
	}
	for _, prefix := range p.LocalPrefixes {
		if resolved, err := filepath.EvalSymlinks(prefix); err == nil && inside(clean, resolved) {
			return Address{Protocol: "file", URL: clean}, nil
		}
	}
	return Address{}, fault.Denied("this host does not build from the local path %s", clean).
		WithFix("add its folder to policy.allow_local_repositories in the agent's configuration, or use an https or ssh address")
}

func inside(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

// checkHost refuses hosts that are inside our networks.
func (a Address) checkHost(ctx context.Context, p Policy) error {
	if a.Protocol == "file" || slices.Contains(p.PrivateHosts, "*") || slices.Contains(p.PrivateHosts, a.Host) {
		return nil
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", a.Host)
	if err != nil {
		return task.Retryable(fault.Unavailable("the host %s of the repository cannot be resolved", a.Host).
			WithFix("check the address and the name servers of this host").WithCause(err))
	}
	for _, addr := range addrs {
		if !isPublic(addr.Unmap()) {
			return fault.Denied("the host %s of the repository has the private address %s", a.Host, addr).
				WithFix("add the host to policy.allow_private_repositories in the agent's configuration if this is meant")
		}
	}
	return nil
}

func isPublic(a netip.Addr) bool {
	sharedSpace := netip.MustParsePrefix("100.64.0.0/10") // between carriers and their customers
	return a.IsGlobalUnicast() && !a.IsPrivate() && !sharedSpace.Contains(a)
}

// checkRef refuses what cannot be the name of a branch, tag or commit. Names that a shell would understand are fine:
// there is no shell.
func checkRef(ref string) error {
	invalid := len(ref) > 250 || control.MatchString(ref) || strings.ContainsAny(ref, ":^~?*[\\") ||
		strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "+") || strings.HasPrefix(ref, "/") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.HasSuffix(ref, ".lock") || ref == "@"
	if invalid {
		return fault.Invalid("ref", "%q cannot be a branch, tag or commit", ref)
	}
	return nil
}
