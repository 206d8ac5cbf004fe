package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// PeerVerifier checks the certificates that servers show each other.
type PeerVerifier struct {
	Roots   *x509.CertPool // the servers' root; an agent's certificate has another
	Cluster string
}

// Verify says which server presented chain. It demands a signature of the servers' root, the server role and this
// cluster; an agent's certificate and a server of another cluster are refused. Its dates do not count: every server holds
// the root's key and could make itself a new one, so that they would protect nothing, and a clock that jumps would cut the
// cluster apart. What revokes a server is its removal from the membership.
func (v PeerVerifier) Verify(chain []*x509.Certificate) (server string, err error) {
	if len(chain) == 0 {
		return "", errors.New("no certificate; the peer port is for control servers only")
	}
	leaf := chain[0]
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: v.Roots, CurrentTime: leaf.NotBefore, KeyUsages: usages}); err != nil {
		return "", fmt.Errorf("server certificate: %w", err)
	}
	return serverOf(leaf, v.Cluster)
}

// serverOf reads the server out of the one URI the certificate may have.
func serverOf(leaf *x509.Certificate, cluster string) (string, error) {
	return idOf(leaf, cluster, roleServer)
}

// PeerConfig is the TLS of the peer port, for both ends of a connection: TLS 1.3 with a certificate of each side, checked by
// verify, which gets the id of the other server. protocols are the ALPN protocols, the preferred first.
func PeerConfig(leaf *ServerLeaf, v PeerVerifier, verify func(server string) error, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: leaf.Certificate,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return leaf.Certificate(nil)
		},
		NextProtos:         protocols,
		ClientAuth:         tls.RequireAnyClientCert,
		InsecureSkipVerify: true, //nolint:gosec // replaced: VerifyConnection runs on every handshake, on both sides
		// A session that is resumed is not looked up again in the membership, so none is.
		SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			id, err := v.Verify(s.PeerCertificates)
			if err != nil {
				return err
			}
			return verify(id)
		},
	}
}

// PeerOf is the server at the other end of a connection of PeerConfig.
func PeerOf(s tls.ConnectionState, cluster string) (string, error) {
	if len(s.PeerCertificates) == 0 {
		return "", errors.New("no certificate")
	}
	return serverOf(s.PeerCertificates[0], cluster)
}
