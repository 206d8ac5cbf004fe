package config

import (
	"strings"
	"testing"
)

func TestLimits_ComeFromTheFileOverTheDefaultsAndZeroMeansNone(t *testing.T) {
	c := Default()
	if err := decode([]byte("log_dir = \"/var/log/saas-gestor\"\n[limits]\ntenant_writes_per_second = 0\nconnections = 7\n"), &c); err != nil {
		t.Fatal(err)
	}
	if c.Limits.TenantWrites != 0 || c.Limits.Connections != 7 || c.Limits.TenantReads != DefaultLimits().TenantReads || c.LogDir == "" {
		t.Fatalf("got %+v", c.Limits)
	}
	if err := c.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestCheck_NamesTheOperationalSettingThatIsWrong(t *testing.T) {
	for want, change := range map[string]func(c *Config){
		"log_dir":        func(c *Config) { c.LogDir = "logs" },
		"metrics_listen": func(c *Config) { c.MetricsListen = "9464" },
		"limits":         func(c *Config) { c.Limits.StreamsPerNode = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}
