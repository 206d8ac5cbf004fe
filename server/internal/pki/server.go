package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/saas-gestor/gestor/proto/rpc"
)

// ServerLifetime is how long a server's certificate is good for. A new one is made at each start and after two thirds.
const ServerLifetime = 90 * 24 * time.Hour

// ServerLeaf is the certificate of this server. Its key lives in memory only. It is safe for concurrent use.
type ServerLeaf struct {
	root   *Root
	server *url.URL
	names  []string
	ips    []net.IP
	now    func() time.Time

	mu   sync.Mutex
	cert *tls.Certificate // guarded by mu
}

// LeafOptions say what a server's certificate is made for.
type LeafOptions struct {
	Root    *Root
	Cluster string
	Server  string   // this server's id
	Hosts   []string // host names and IP addresses people and agents reach it under, without ports
	Now     func() time.Time
}

// NewServerLeaf makes the first certificate.
func NewServerLeaf(o LeafOptions) (*ServerLeaf, error) {
	l := &ServerLeaf{root: o.Root, server: identity(o.Cluster, roleServer, o.Server), now: o.Now}
	l.names = []string{rpc.ServerName(o.Cluster)}
	for _, host := range append([]string{"localhost", "127.0.0.1", "::1"}, o.Hosts...) {
		if ip := net.ParseIP(host); ip != nil {
			l.ips = append(l.ips, ip)
			continue
		}
		l.names = append(l.names, host)
	}
	cert, err := l.make()
	if err != nil {
		return nil, err
	}
	l.cert = cert
	return l, nil
}

// Certificate returns the current certificate, made anew when two thirds of its time are over, or its time has not come. It has the form of
// tls.Config.GetCertificate. Where a new one cannot be made the old one serves on.
func (l *ServerLeaf) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); now.After(renewAt(l.cert.Leaf)) || now.Before(l.cert.Leaf.NotBefore) { // or made before the time was known
		if cert, err := l.make(); err == nil {
			l.cert = cert
		}
	}
	return l.cert, nil
}

func renewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-ServerLifetime / 3)
}

// make signs a fresh key. The chain holds the root too, so that a client with only a pin can find it.
func (l *ServerLeaf) make() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make server key: %w", err)
	}
	now := l.now()
	if first := l.root.Certificate.NotBefore; now.Before(first) { // a clock that is certainly wrong
		now = first.Add(skew)
	}
	der, err := l.root.sign(&x509.Certificate{
		NotBefore:   now.Add(-skew),
		NotAfter:    now.Add(ServerLifetime),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    l.names,
		IPAddresses: l.ips,
		URIs:        []*url.URL{l.server},
	}, key.Public())
	if err != nil {
		return nil, fmt.Errorf("sign server certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sign server certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der, l.root.Certificate.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// ServerConfig is the TLS side of a server: TLS 1.3, HTTP/2, and a client certificate for those who have one. A certificate
// that v refuses ends the handshake; one that is only expired does not, because its agent must be able to renew,
// so callers verify again per request.
func ServerConfig(leaf *ServerLeaf, v AgentVerifier) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: leaf.Certificate,
		NextProtos:     []string{"h2", "http/1.1"},
		ClientAuth:     tls.RequestClientCert,
		ClientCAs:      v.Roots, // names the root whose certificates are welcome, so that browsers offer none of their own
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return nil
			}
			_, err := v.Verify(s.PeerCertificates)
			return err
		},
	}
}
