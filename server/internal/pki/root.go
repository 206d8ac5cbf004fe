// Package pki makes and checks the identities of servers and agents: one P-256 root signs servers, another signs agents, so
// that neither kind can pass for the other, and every leaf names its role in a URI besides. It defines the form of join
// tokens. It stores nothing and reads no clock of its own; root keys come and go as PKCS #8, which callers seal.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// RootLifetime is how long a root is good for.
const RootLifetime = 10 * 365 * 24 * time.Hour

// skew is how far other clocks may be behind ours: certificates begin this much before they are made.
const skew = time.Hour

// Root signs the leaves of one role. It is safe for concurrent use.
type Root struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewRoot makes a self-signed root; role is "server" or "agent".
func NewRoot(cluster, role string, now time.Time) (*Root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make %s root: %w", role, err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{Organization: []string{"Gestor"}, CommonName: fmt.Sprintf("Gestor %s root of %s", role, cluster)},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(RootLifetime),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make %s root: %w", role, err)
	}
	return newRoot(der, key)
}

// LoadRoot puts a root together from its certificate (DER) and its key (PKCS #8).
func LoadRoot(certificate, key []byte) (*Root, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("parse root key: %w", err)
	}
	ec, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("root key is a %T, want ECDSA", parsed)
	}
	return newRoot(certificate, ec)
}

func newRoot(der []byte, key *ecdsa.PrivateKey) (*Root, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse root certificate: %w", err)
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		return nil, errors.New("the root's key does not belong to its certificate")
	}
	return &Root{Certificate: c, key: key}, nil
}

// MarshalKey returns the key as PKCS #8, to be sealed and stored.
func (r *Root) MarshalKey() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(r.key)
	if err != nil {
		return nil, fmt.Errorf("marshal root key: %w", err)
	}
	return der, nil
}

// Derive returns 32 secret bytes that are the same for a label wherever this root's key is, and tell nothing of it:
// HKDF-SHA256 (RFC 5869) over the key, with the label as its info.
func (r *Root) Derive(label string) []byte {
	key, err := r.key.Bytes()
	if err != nil { // only keys of unknown curves have none
		panic("pki: derive: " + err.Error())
	}
	out, err := hkdf.Key(sha256.New, key, nil, label, derivedBytes)
	if err != nil { // only a key that is too long is refused
		panic("pki: derive: " + err.Error())
	}
	return out
}

const derivedBytes = 32

// Pin is the SHA-256 of the root's public key.
func (r *Root) Pin() []byte { return SPKIHash(r.Certificate) }

// Pool holds this root alone.
func (r *Root) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.Certificate)
	return pool
}

// PEM is the certificate, for people and other programs.
func (r *Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate.Raw})
}

// SPKIHash is the SHA-256 of a certificate's public key (SubjectPublicKeyInfo).
func SPKIHash(c *x509.Certificate) []byte {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return sum[:]
}

func (r *Root) sign(template *x509.Certificate, public any) ([]byte, error) {
	template.SerialNumber = serial()
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	if template.NotAfter.After(r.Certificate.NotAfter) {
		template.NotAfter = r.Certificate.NotAfter
	}
	return x509.CreateCertificate(rand.Reader, template, r.Certificate, public, r.key)
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic("pki: random serial: " + err.Error()) // crypto/rand never fails
	}
	return n.Add(n, big.NewInt(1)) // never 0
}
