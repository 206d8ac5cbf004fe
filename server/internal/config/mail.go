package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/saas-gestor/gestor/server/internal/mail"
)

// Mail says which mail server the installation sends by. Without Host it sends none. All servers have the same section:
// any of them may lead.
type Mail struct {
	Host         string `toml:"host"`
	Port         int    `toml:"port"`          // 0: 587 for starttls, 465 for implicit, 25 for none
	From         string `toml:"from"`          // "Gestor <gestor@example.com>"
	User         string `toml:"user"`          // empty: without signing in
	PasswordFile string `toml:"password_file"` // path of a private file that holds the password alone
	TLS          string `toml:"tls"`           // "starttls", "implicit", or "none" for a mail server on this machine
	CAFile       string `toml:"ca_file"`       // PEM certificates that sign the mail server's; empty: those of the system
}

// Options are m as package mail takes it. It reads CAFile.
func (m Mail) Options() (mail.Options, error) {
	o := mail.Options{Host: m.Host, Port: m.Port, From: m.From, User: m.User, PasswordFile: m.PasswordFile, TLS: mail.TLS(m.TLS)}
	if m.Host == "" || m.CAFile == "" {
		return o, nil
	}
	pem, err := os.ReadFile(m.CAFile)
	if err != nil {
		return o, fmt.Errorf("mail.ca_file: %w", err)
	}
	o.Roots = x509.NewCertPool()
	if !o.Roots.AppendCertsFromPEM(pem) {
		return o, fmt.Errorf("mail.ca_file: %s holds no certificate in PEM", m.CAFile)
	}
	return o, nil
}

func (m Mail) check() error {
	for key, path := range map[string]string{"password_file": m.PasswordFile, "ca_file": m.CAFile} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("mail.%s %q is not an absolute path", key, path)
		}
	}
	if m.Host == "" && m != (Mail{}) {
		return errors.New("mail.host is missing: write the name of the mail server, or remove the section")
	}
	_, err := mail.New(mail.Options{Host: m.Host, Port: m.Port, From: m.From, User: m.User, PasswordFile: m.PasswordFile, TLS: mail.TLS(m.TLS)})
	return err
}
