package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const (
	tokenPrefix = "gst1"
	defaultPort = "8443"
)

// Token lets one host become a node: "gst1.<pin>.<id>.<secret>".
type Token struct {
	Pin    []byte // SHA-256 of the server root's public key
	ID     string
	Secret string
}

// ParseToken reads a token. The error never quotes it.
func ParseToken(s string) (Token, error) {
	parts := strings.Split(strings.TrimSpace(s), ".")
	if len(parts) != 4 || parts[0] != tokenPrefix || parts[2] == "" || parts[3] == "" {
		return Token{}, fault.Invalid("token", "this is not a join token; it has the form gst1.<pin>.<id>.<secret>").
			WithFix("copy it whole, or make one with: gestor node token <name>")
	}
	pin, err := hex.DecodeString(parts[1])
	if err != nil || len(pin) != 32 {
		return Token{}, fault.Invalid("token", "the pin of this join token is damaged").WithFix("copy the token whole")
	}
	return Token{Pin: pin, ID: parts[2], Secret: parts[3]}, nil
}

// JoinRequest says where to join, with what.
type JoinRequest struct {
	Server  string // URL or host:port of a server; port 8443 if there is none
	Token   Token
	Facts   *gestorv1.NodeFacts
	Version string
}

// Join enrols this host and stores its identity. It may be called again with the same token if the answer was lost:
// the key stays the same. A host that is a node of the token's cluster already stays what it is; one of another cluster
// is refused.
func (d Dir) Join(ctx context.Context, r JoinRequest) (Identity, error) {
	if old, _, err := d.Load(); err == nil {
		if old.under(r.Token.Pin) {
			return old, nil
		}
		return old, fault.Exists("this host has joined another cluster as %s (%s)", old.NodeName, old.NodeID).
			WithFix("to join anew, delete that node and remove %s", string(d))
	}
	address, err := Address(r.Server)
	if err != nil {
		return Identity{}, err
	}
	key, err := d.Key()
	if err != nil {
		return Identity{}, err
	}
	csr, err := signingRequest(key)
	if err != nil {
		return Identity{}, err
	}
	client := rpc.New(rpc.Options{Address: address, Pin: r.Token.Pin, Version: r.Version})
	defer client.Close()
	enrollment := agentv1connect.NewEnrollmentServiceClient(client.HTTP, client.URL, client.Options()...)
	answer, err := enrollment.Enroll(ctx, &agentv1.EnrollRequest{
		TokenId: r.Token.ID, TokenSecret: r.Token.Secret, Csr: csr, Facts: r.Facts,
	})
	if err != nil {
		return Identity{}, explain(err, address)
	}
	i, err := fromProto(answer.GetIdentity(), key)
	if err != nil {
		return Identity{}, err
	}
	if len(i.Servers) == 0 {
		i.Servers = []string{address}
	}
	return i, d.Store(i)
}

// under tells whether the pin is of one of the roots.
func (i Identity) under(pin []byte) bool {
	return slices.ContainsFunc(i.ServerRoots, func(der []byte) bool {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return false
		}
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		return bytes.Equal(sum[:], pin)
	})
}

// Address is the host:port of a server given as URL or host with or without port.
func Address(server string) (string, error) {
	text := server
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return "", fault.Invalid("server", "%q is not the address of a server", server).WithFix("write it as https://host:port")
	}
	port := u.Port()
	if port == "" {
		port = defaultPort
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// explain adds what a host's own clock has to do with a server that does not verify.
func explain(err error, address string) error {
	if pin, ok := errors.AsType[*rpc.PinError](err); ok && pin.Err == nil {
		return fault.Denied("%s is not a server of the cluster this token is for; nothing secret was sent to it", address).
			WithCause(err).WithFix("check the address, that the token is whole, and that nobody is in between")
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fault.Unavailable("the certificate of %s is not valid at this host's time, %s", address, time.Now().UTC().Format(time.RFC3339)).
			WithCause(err).WithFix("check this host's clock (timedatectl) and the server's")
	}
	return err
}
