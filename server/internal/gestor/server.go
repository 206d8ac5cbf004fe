package gestor

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// ServerID names a control server: "srv_…".
type ServerID string

// Server is a control server. Whether it has a vote is Raft's to know.
type Server struct {
	ID          ServerID
	Name        string   // unique; a DNS label
	PeerAddress string   // where the other servers reach it, host:port
	Addresses   []string // where people and agents reach it, host:port, the preferred first
	Version     string
	Level       uint32   // the newest commands it understands
	Replaces    ServerID // the server that leaves once this one votes; empty for none
	CreatedAt   time.Time
	Revision    uint64
}

// Same reports whether o says the same of the same server; when it came and what it replaces do not count.
func (s Server) Same(o Server) bool {
	return s.ID == o.ID && s.Name == o.Name && s.PeerAddress == o.PeerAddress && s.Version == o.Version && s.Level == o.Level &&
		slices.Equal(s.Addresses, o.Addresses)
}

// ServerToken lets one host become a control server.
type ServerToken struct {
	ID         string
	SecretHash []byte   // SHA-256
	Name       string   // the server's name; empty where it chooses one
	Replaces   ServerID // the server that leaves once the new one votes; empty for none
	ExpiresAt  time.Time
	CreatedBy  string
	AuditIn    TenantID // whose audit log tells of its use
	UsedBy     ServerID // empty until it is used
}

const maxServerName = 63

// CheckServerName checks the name of a control server, a DNS label that begins with a letter.
func CheckServerName(field, name string) error {
	if isName(name, maxServerName) {
		return nil
	}
	return fault.Invalid(field, "%s is no name for a server", quote(name)).
		WithFix("use at most %d lower-case letters, digits and hyphens, beginning with a letter and not ending with a hyphen", maxServerName)
}

// ServerNameOf makes a name that CheckServerName accepts out of a host name.
func ServerNameOf(host string) string {
	first, _, _ := strings.Cut(strings.ToLower(host), ".")
	name := strings.Map(func(r rune) rune {
		if r < 0x80 && (isLower(byte(r)) || isDigit(byte(r))) {
			return r
		}
		return '-'
	}, first)
	name = strings.TrimLeft(name, "0123456789-")
	name = strings.TrimRight(name[:min(len(name), maxServerName)], "-")
	if name == "" {
		return "server"
	}
	return name
}

const (
	maxServerID        = 100
	maxServerVersion   = 100
	maxServerAddresses = 10
)

// CheckServerID checks an id that a server chose for itself.
func CheckServerID(field string, id ServerID) error {
	rest, ok := strings.CutPrefix(string(id), "srv_")
	if !ok || rest == "" || len(id) > maxServerID || !only(rest, func(c byte) bool { return isLower(c) || isDigit(c) }) {
		return fault.Invalid(field, "%s is no server's id", quote(string(id))).WithFix("use srv_ and lower-case letters and digits, chosen at random")
	}
	return nil
}

// Validate checks what a server says of itself. field is the prefix of the fields' names, with its dot.
func (s Server) Validate(field string) error {
	if err := CheckServerName(field+"name", s.Name); err != nil {
		return err
	}
	if err := CheckServerAddress(field+"peer_address", s.PeerAddress); err != nil {
		return err
	}
	if err := checkLength(field+"version", s.Version, maxServerVersion); err != nil {
		return err
	}
	if err := checkText(field+"version", s.Version, ""); err != nil {
		return err
	}
	if len(s.Addresses) > maxServerAddresses {
		return fault.Invalid(field+"addresses", "a server has at most %d", maxServerAddresses)
	}
	for i, a := range s.Addresses {
		if err := CheckServerAddress(field+"addresses["+strconv.Itoa(i)+"]", a); err != nil {
			return err
		}
	}
	return nil
}

// CheckServerAddress checks where a server says it is reached: host:port, of which the host is a name or an address that
// others can use, so no wildcard.
func CheckServerAddress(field, address string) error {
	host, port, err := net.SplitHostPort(address) //nolint:forbidigo // takes a text apart, without I/O
	if err != nil {
		return fault.Invalid(field, "%s is no host:port", quote(address)).WithFix("write it like ctl1.example.com:8443, or [2001:db8::1]:8443")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fault.Invalid(field, "%s has no port from 1 to 65535", quote(address))
	}
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return checkHostname(field, strings.ToLower(host))
	case ip.IsUnspecified() || ip.IsMulticast():
		return fault.Invalid(field, "nobody reaches a server at %s", quote(address)).
			WithFix("write the name or the address that other hosts use for it")
	}
	return nil
}
