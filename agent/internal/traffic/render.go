package traffic

import (
	_ "embed"
	"fmt"
	"path"
	"strings"
	"text/template"
)

//go:embed nginx.conf.tmpl
var templates string

// siteView is what the template sees; all its texts were checked.
type siteView struct {
	Site
	Names     string // server_name
	Default   string // " default_server" for a site without domains
	Root      string
	UpstreamN string
	LogDir    string
}

func renderSite(s Site, logDir string) (string, error) {
	if err := s.Check(); err != nil {
		return "", err
	}
	v := siteView{Site: s, Names: strings.Join(s.Domains, " "), UpstreamN: "gestor_" + strings.ReplaceAll(s.App, "-", "_"), LogDir: logDir}
	if len(s.Domains) == 0 {
		v.Names, v.Default = "_", " default_server"
	}
	if s.Base != "" {
		v.Root = path.Join(s.Base, s.WebRoot)
	}
	return execute("site", v)
}

// frameView is for the parts that are not an app's.
type frameView struct {
	Generation uint64
	Status     string
	Dir        string
	User       string
	Include    string
}

func execute(name string, data any) (string, error) {
	t, err := template.New("nginx").Option("missingkey=error").Parse(templates)
	if err != nil {
		return "", fmt.Errorf("parse nginx templates: %w", err)
	}
	var b strings.Builder
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("render nginx %s: %w", name, err)
	}
	return b.String(), nil
}
