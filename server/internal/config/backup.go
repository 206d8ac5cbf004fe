package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Backup says how often the leader backs the state up, and where to. Without To there are no scheduled backups. All
// servers have the same section: any of them may lead.
type Backup struct {
	Every       Duration `toml:"every"`       // "24h"
	Keep        int      `toml:"keep"`        // how many stay
	To          string   `toml:"to"`          // an absolute directory, or s3://bucket/prefix
	Endpoint    string   `toml:"endpoint"`    // of S3, https://…; for s3:// only, like the two that follow
	Region      string   `toml:"region"`      // may be empty where there are none
	Credentials string   `toml:"credentials"` // path of a private file in the form of ~/.aws/credentials
}

// DefaultBackup is a backup a day for two weeks, once it is said where to.
func DefaultBackup() Backup { return Backup{Every: Duration(24 * time.Hour), Keep: 14} }

const shortestBackup = time.Minute

func (b Backup) check() error {
	if b.To == "" {
		if b.Endpoint != "" || b.Region != "" || b.Credentials != "" {
			return errors.New(`backup.to is missing: write to = "s3://bucket/prefix"`)
		}
		return nil
	}
	if time.Duration(b.Every) < shortestBackup {
		return fmt.Errorf("backup.every %s is less than %s", time.Duration(b.Every), shortestBackup)
	}
	if b.Keep < 1 {
		return fmt.Errorf("backup.keep %d is less than 1", b.Keep)
	}
	if !strings.HasPrefix(b.To, "s3://") {
		if !filepath.IsAbs(b.To) {
			return fmt.Errorf("backup.to %q is neither an absolute directory nor s3://bucket/prefix", b.To)
		}
		return nil
	}
	return b.checkS3()
}

func (b Backup) checkS3() error {
	u, err := url.Parse(b.To)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return fmt.Errorf("backup.to %q is not s3://bucket/prefix", b.To)
	}
	if err := CheckEndpoint(b.Endpoint); err != nil {
		return fmt.Errorf("backup.endpoint: %w", err)
	}
	if !filepath.IsAbs(b.Credentials) {
		return fmt.Errorf("backup.credentials %q is not an absolute path of a file with aws_access_key_id and aws_secret_access_key", b.Credentials)
	}
	return nil
}

// CheckEndpoint checks the address of an S3 server. Without TLS it must be on this machine.
func CheckEndpoint(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q is not https://host or https://host:port", raw)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q sends backups in the clear: write https://", raw)
	}
	return nil
}

// Size is a number of bytes that is written with its unit, "512MiB".
type Size uint64

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Size) UnmarshalText(text []byte) error {
	for unit, factor := range map[string]uint64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40} {
		number, ok := strings.CutSuffix(string(text), unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 32)
		*s = Size(n * factor)
		return err
	}
	return fmt.Errorf("%q has no unit: write 512MiB or 1GiB", text)
}
