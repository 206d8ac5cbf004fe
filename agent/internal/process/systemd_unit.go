package process

import (
	"fmt"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

const appPrefix = "gestor-app-"

// unitFileName is the name systemd knows a unit by: "shop@20261123-1" is gestor-app-shop-20261123-1.service.
func unitFileName(name string) string {
	return appPrefix + strings.ReplaceAll(name, "@", "-") + ".service"
}

// renderUnit writes a unit file. It refuses values that could mean something to systemd where it cannot quote them.
func renderUnit(rec record, envFile string) (string, error) {
	u := rec.Unit
	v := view{Writable: u.Writable, ReadOnly: u.ReadOnly, Hidden: append(append([]string{}, rec.Hidden...), u.Hidden...)}
	for _, path := range append(append(append([]string{u.Dir, u.LogFile, u.EnvFile, envFile}, v.Writable...), v.ReadOnly...), v.Hidden...) {
		if strings.ContainsAny(path, " \t\"'\\%$:;") || hasControl(path) {
			return "", fault.Invalid("path", "path %q cannot be written into a unit file", path)
		}
	}
	var argv []string
	for _, a := range u.argv() {
		q, err := quoteArgument(a)
		if err != nil {
			return "", err
		}
		argv = append(argv, q)
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("# Written by gestor-agent. Changes are lost.")
	line("[Unit]\nDescription=Gestor app %s\nAfter=network-online.target\nStartLimitIntervalSec=0\n", u.Name)
	line("[Service]\nType=exec\nExecStart=%s", strings.Join(argv, " "))
	line("User=%d\nGroup=%d\nWorkingDirectory=%s", u.UID, u.GID, u.Dir)
	if u.EnvFile != "" {
		line("EnvironmentFile=-%s", u.EnvFile)
	}
	line("EnvironmentFile=%s", envFile) // later ones win
	line("Restart=always\nRestartSec=2\nTimeoutStopSec=%d", max(1, int(u.Grace.Seconds())))
	line("StandardInput=null\nStandardOutput=append:%s\nStandardError=inherit\nSlice=gestor-app.slice", u.LogFile)
	for _, p := range confinement(v, u.Limits) {
		line("%s", p)
	}
	line("\n[Install]\nWantedBy=multi-user.target")
	return b.String(), nil
}

// quoteArgument makes one argument of a command line that systemd takes as it is.
func quoteArgument(a string) (string, error) {
	if hasControl(strings.NewReplacer("\n", "", "\t", "").Replace(a)) {
		return "", fault.Invalid("command", "a command holds control characters")
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "%", "%%", "$", "$$").Replace(a) + `"`, nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}
