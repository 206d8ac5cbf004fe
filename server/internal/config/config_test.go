package config_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/server/internal/config"
)

func load(t *testing.T, file string, env map[string]string, args ...string) (config.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server.toml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.Flags(flags)
	if err := flags.Parse(append([]string{"--config", path}, args...)); err != nil {
		t.Fatal(err)
	}
	return config.Load(flags, func(key string) (string, bool) { v, ok := env[key]; return v, ok })
}

func TestLoad_LetsFlagsWinOverEnvironmentOverFileOverDefaults(t *testing.T) {
	c, err := load(t, "listen = ':1'\ndata_dir = '/file'\nlog_level = 'warn'\n",
		map[string]string{"GESTOR_LISTEN": ":2", "GESTOR_DATA_DIR": "/env"}, "--listen", ":3", "--public-url", "https://a, https://b:8443")
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != ":3" || c.DataDir != "/env" || c.LogLevel != "warn" || c.LogFormat != "text" {
		t.Fatalf("got %+v", c)
	}
	if !slices.Equal(c.PublicURLs, []string{"https://a", "https://b:8443"}) {
		t.Fatalf("got %v", c.PublicURLs)
	}
}

func TestLoad_RefusesWhatItDoesNotUnderstandAndNamesIt(t *testing.T) {
	for file, want := range map[string]string{
		"lissten = ':1'":                "lissten (line 1)",
		"[tls]\nx = 1":                  "tls",
		"listen = 8443":                 "line 1",
		"listen = '8443'":               "listen",
		"data_dir = 'data'":             "data_dir",
		"log_level = 'loud'":            "log_level",
		"log_format = 'xml'":            "log_format",
		"public_urls = ['http://a']":    "http://a",
		"public_urls = ['https://a/x']": "https://a/x",
		"public_urls = ['a:8443']":      "a:8443",
	} {
		if _, err := load(t, file, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want it to name %s", file, err, want)
		}
	}
}

func TestLoad_RefusesANamedFileThatIsNotThere(t *testing.T) {
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	config.Flags(flags)
	missing := filepath.Join(t.TempDir(), "none.toml")
	_, err := config.Load(flags, func(key string) (string, bool) { return missing, key == "GESTOR_CONFIG" })
	if err == nil || !strings.Contains(err.Error(), missing) {
		t.Fatalf("got %v", err)
	}
}
