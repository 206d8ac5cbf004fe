package source

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

// prepareSSH puts the key in place. Without known hosts there is no way to tell the right host from another.
func (s *session) prepareSSH() error {
	if strings.TrimSpace(s.r.Source.GetKnownHosts()) == "" {
		return s.unknownHost("the ssh key of the host %s is not known", s.addr.Host)
	}
	if len(s.r.Key) == 0 {
		return fault.Conflict("the app has no deploy key, which the address %s needs", s.addr.URL)
	}
	key := s.r.Key
	if key[len(key)-1] != '\n' {
		key = append(append([]byte{}, key...), '\n')
	}
	return s.write("key", key)
}

func (s *session) unknownHost(format string, args ...any) error {
	scan := "ssh-keyscan " + s.addr.Host
	if s.addr.Port != "" {
		scan = fmt.Sprintf("ssh-keyscan -p %s %s", s.addr.Port, s.addr.Host)
	}
	return fault.Denied(format, args...).
		WithFix("run %q, compare the keys with those the host publishes, and put the lines into the app's known hosts", scan)
}

// sshCommand is read by a shell inside git. It holds nothing from outside: the folder's name is ours.
func (s *session) sshCommand() string {
	return strings.Join([]string{
		"ssh", "-F", "/dev/null", "-i", filepath.Join(s.dir, "key"), "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "BatchMode=yes", "-o", "PasswordAuthentication=no", "-o", "StrictHostKeyChecking=yes",
		"-o", "UserKnownHostsFile=" + filepath.Join(s.dir, "known_hosts"), "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "ForwardAgent=no", "-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no", "-o", "UpdateHostKeys=no",
		"-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15",
	}, " ")
}
