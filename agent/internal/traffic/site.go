package traffic

import (
	"regexp"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Site is what nginx serves for one app. Exactly one of Root and Upstream is set.
type Site struct {
	App      string   `json:"app"`                // names its file
	Domains  []string `json:"domains,omitempty"`  // none answers to every name on the port
	Port     int      `json:"port"`               // listened on
	Base     string   `json:"base,omitempty"`     // static: the path of the link to the live release
	WebRoot  string   `json:"web_root,omitempty"` // static: the folder served inside it; empty for the top
	Upstream int      `json:"upstream,omitempty"` // process: its port on the loopback
}

var (
	validApp    = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,26}[a-z0-9])?$`)
	validDomain = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	validPath   = regexp.MustCompile(`^/[A-Za-z0-9_./@+-]*$`)
	validFolder = regexp.MustCompile(`^[A-Za-z0-9_.@+-][A-Za-z0-9_./@+-]*$`)
)

// Check tells whether a site can be written into a configuration.
func (s Site) Check() error {
	if !validApp.MatchString(s.App) {
		return fault.Invalid("app", "app name %q is not valid", s.App)
	}
	if s.Port < 1 || s.Port > 65535 {
		return fault.Invalid("port", "port %d is not between 1 and 65535", s.Port)
	}
	for _, d := range s.Domains {
		if len(d) > 253 || !validDomain.MatchString(d) {
			return fault.Invalid("domains", "%q is not a host name in lower case", d)
		}
	}
	if (s.Base == "") == (s.Upstream == 0) {
		return fault.Invalid("app", "app %s must be served either from a folder or by a program", s.App)
	}
	if s.Upstream < 0 || s.Upstream > 65535 {
		return fault.Invalid("port", "port %d of the program is not valid", s.Upstream)
	}
	return s.checkPaths()
}

func (s Site) checkPaths() error {
	if s.Base == "" {
		return nil
	}
	if !validPath.MatchString(s.Base) || hasDots(s.Base) {
		return fault.Invalid("path", "path %q cannot be served", s.Base)
	}
	if s.WebRoot != "" && (!validFolder.MatchString(s.WebRoot) || hasDots(s.WebRoot)) {
		return fault.Invalid("output", "folder %q cannot be served", s.WebRoot)
	}
	return nil
}

func hasDots(path string) bool { return slices.Contains(strings.Split(path, "/"), "..") }

// conflicts tells whether two sites answer to the same name on the same port.
func (s Site) conflicts(o Site) error {
	if s.App == o.App || s.Port != o.Port {
		return nil
	}
	if len(s.Domains) == 0 && len(o.Domains) == 0 {
		return fault.Conflict("port %d of this host is taken by app %s", s.Port, o.App).WithFix("give one of them a domain or another port")
	}
	for _, d := range s.Domains {
		if slices.Contains(o.Domains, d) {
			return fault.Conflict("%s on port %d of this host is taken by app %s", d, s.Port, o.App).WithFix("remove it there or here")
		}
	}
	return nil
}
