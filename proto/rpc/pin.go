package rpc

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
)

// PinError says that a server did not show the root a pin belongs to.
type PinError struct {
	Want []byte // SHA-256 of the expected root's public key
	Err  error  // what was wrong with the chain, if the root was there
}

// Error says which pin was expected.
func (e *PinError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("certificate chain under pin %s: %v", hex.EncodeToString(e.Want), e.Err)
	}
	return "no certificate of the server has the pin " + hex.EncodeToString(e.Want)
}

// Unwrap returns what was wrong with the chain.
func (e *PinError) Unwrap() error { return e.Err }

// verifyPin accepts a connection whose leaf is a server's, signed by a root among the certificates sent whose public key has
// the SHA-256 pin. The host's name does not matter: that root signs only servers of one cluster.
func verifyPin(pin []byte) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		_, err := PinnedRoot(s.PeerCertificates, pin)
		return err
	}
}

// PinnedRoot returns the root among chain whose public key has the SHA-256 pin, if the first of chain is a valid server
// certificate under it. A caller that trusts the pin keeps the root and needs the pin no more.
func PinnedRoot(chain []*x509.Certificate, pin []byte) (*x509.Certificate, error) {
	if len(chain) == 0 {
		return nil, &PinError{Want: pin, Err: errors.New("the server sent no certificate")}
	}
	for _, c := range chain {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		if !c.IsCA || !bytes.Equal(sum[:], pin) {
			continue
		}
		roots := x509.NewCertPool()
		roots.AddCert(c)
		usages := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: usages}); err != nil {
			return nil, &PinError{Want: pin, Err: err}
		}
		return c, nil
	}
	return nil, &PinError{Want: pin}
}

// Roots makes a pool of certificates in DER form.
func Roots(ders ...[]byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parse root certificate: %w", err)
		}
		pool.AddCert(c)
	}
	return pool, nil
}
