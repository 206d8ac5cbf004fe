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
		"no private":     func(c *Config) { c.MetricsListen = "203.0.113.7:9464" },
		"limits":         func(c *Config) { c.Limits.StreamsPerNode = -1 },
	} {
		c := Default()
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

func TestCheck_RefusesMetricsForTheInternetUnlessTheyAreMeantToBe(t *testing.T) {
	for at, want := range map[string]bool{
		"127.0.0.1:9464": true, "[::1]:9464": true, "localhost:9464": true, "10.1.2.3:9464": true, "[fd00::1]:9464": true, "100.64.0.9:9464": true,
		":9464": false, "0.0.0.0:9464": false, "[::]:9464": false, "203.0.113.7:9464": false, "[2001:db8::1]:9464": false, "100.63.0.1:9464": false, "ctl.example.com:9464": false,
	} {
		c := Default()
		c.MetricsListen = at
		if err := c.Check(); (err == nil) != want {
			t.Errorf("%s: %v", at, err)
		}
		c.MetricsPublic = true
		if err := c.Check(); err != nil {
			t.Errorf("%s, on purpose: %v", at, err)
		}
	}
}

func TestCheck_RefusesToKeepLessThanAYearOfTheAuditLog(t *testing.T) {
	c := Default()
	if c.AuditYears != 5 {
		t.Errorf("%d years by default", c.AuditYears)
	}
	if c.AuditYears = -1; c.checkOperations() == nil {
		t.Error("-1 years pass")
	}
}
