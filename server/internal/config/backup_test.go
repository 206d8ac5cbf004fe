package config

import (
	"strings"
	"testing"
	"time"
)

func TestBackup_IsCheckedByKey(t *testing.T) {
	const s3 = `to = "s3://bucket/gestor"
`
	for section, want := range map[string]string{
		``:                           "",
		`to = "/var/backups/gestor"`: "",
		s3 + `endpoint = "https://s3.example.com"
credentials = "/etc/gestor/s3"`: "",
		s3 + `endpoint = "http://127.0.0.1:7070"
credentials = "/etc/gestor/s3"`: "",
		`to = "backups"`:                    "backup.to",
		`keep = 3` + "\n" + `region = "x"`:  "backup.to",
		`to = "/b"` + "\n" + `every = "5s"`: "backup.every",
		`to = "/b"` + "\n" + `keep = 0`:     "backup.keep",
		`to = "s3:///x"`:                    "backup.to",
		s3:                                  "backup.endpoint",
		s3 + `endpoint = "http://s3.example.com"`:       "in the clear",
		s3 + `endpoint = "https://user:pw@example.com"`: "backup.endpoint",
		s3 + `endpoint = "https://s3.example.com"`:      "backup.credentials",
		`to = "/b"` + "\n" + `evry = "24h"`:             "backup.evry",
		`to = "/b"` + "\n" + `every = "soon"`:           "line",
	} {
		c := Default()
		err := decode([]byte("[backup]\n"+section), &c)
		if err == nil {
			err = c.Check()
		}
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", section, err)
		}
	}
}

func TestBackup_IsDailyByDefault(t *testing.T) {
	c := Default()
	if err := decode([]byte("disk_reserve = \"512MiB\"\n[backup]\nto = \"/b\""), &c); err != nil {
		t.Fatal(err)
	}
	if time.Duration(c.Backup.Every) != 24*time.Hour || c.Backup.Keep != 14 || c.DiskReserve != 512<<20 {
		t.Errorf("got %+v", c)
	}
	if err := decode([]byte(`disk_reserve = "512"`), &c); err == nil {
		t.Error("a size without a unit is taken")
	}
}
