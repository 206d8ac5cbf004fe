package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/agent/internal/config"
	"github.com/saas-gestor/gestor/agent/internal/policy"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func none(string) (string, bool) { return "", false }

func TestLoad_FlagsWinOverEnvironmentOverFile(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	config.AddFlags(flags)
	if err := flags.Parse([]string{"--http-port", "83"}); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"GESTOR_AGENT_HTTP_PORT": "82", "GESTOR_AGENT_SERVERS": "a:1,b:2"}
	c, err := config.Load(config.Source{
		File: file(t, "http_port = 81\ndata_dir = \"/srv/agent\"\n[nginx]\nmode = \"managed\"\n"), Flags: flags,
		Environment: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.HTTPPort != 83 || c.DataDir != "/srv/agent" || c.Nginx.Mode != "managed" || strings.Join(c.Servers, " ") != "a:1 b:2" {
		t.Errorf("loaded %+v", c)
	}
}

func TestLoad_RefusesWithThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"http_port = 80\nhttp_prot = 81\n": "agent.toml:2: there is no such setting",
		"http_port = \"x\"\n":              "agent.toml:1",
		"http_port = 0\n":                  "between 1 and 65535",
		"data_dir = \"here\"\n":            "absolute path",
	} {
		if _, err := config.Load(config.Source{File: file(t, text), Environment: none}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestPolicy_ForbidsAndIsRootsAlone(t *testing.T) {
	path := file(t, "forbid_kinds = [\"build\"]\n")
	p, err := policy.Load(path)
	if err != nil || p.Forbidden("build") == nil || p.Forbidden("switch") != nil {
		t.Errorf("policy %+v, %v", p, err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Load(path); err == nil {
		t.Error("a policy that all may write was loaded")
	}
}
