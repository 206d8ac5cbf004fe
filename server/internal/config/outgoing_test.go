package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDecode_ChecksMailAndOutgoing(t *testing.T) {
	for text, want := range map[string]string{
		"":                                     "",
		"[outgoing]\nallow = [\"10.0.0.0/8\"]": "",
		"[outgoing]\nallow = [\"10.0.0.1/8\"]": "outgoing.allow",
		"[outgoing]\nallow = [\"inside\"]":     "outgoing.allow",
		"[mail]\nhost = \"mail.example.com\"\nfrom = \"Gestor <gestor@example.com>\"":                            "",
		"[mail]\nhost = \"mail.example.com\"":                                                                    "mail.from",
		"[mail]\nfrom = \"gestor@example.com\"":                                                                  "mail.host",
		"[mail]\nhost = \"mail.example.com\"\nfrom = \"a@example.com\"\ntls = \"none\"":                          "mail.tls",
		"[mail]\nhost = \"m.example.com\"\nfrom = \"a@example.com\"\nuser = \"u\"\npassword_file = \"relative\"": "mail.password_file",
	} {
		c := Default()
		err := decode([]byte(text), &c)
		if err == nil {
			err = c.Check()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want an error about %q", text, err, want)
		}
	}
}

func TestMailOptions_ReadTheAuthoritiesOfTheMailServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + ".gone"} {
		if _, err := (Mail{Host: "m.example.com", From: "a@example.com", CAFile: file}).Options(); err == nil || !strings.Contains(err.Error(), "mail.ca_file") {
			t.Errorf("%s: got %v", file, err)
		}
	}
}
