package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

const (
	// AgentLifetime is how long an agent's certificate is good for; agents renew after two thirds of it.
	AgentLifetime = 24 * time.Hour
	// RenewGrace is how long after its end a certificate may still be renewed, and nothing else: a node that was away for
	// weeks comes back by itself.
	RenewGrace = 90 * 24 * time.Hour
)

// Request is a signing request whose signature and key were checked. Nothing else in it counts.
type Request struct {
	SPKI   []byte // SHA-256 of the public key
	public *ecdsa.PublicKey
}

// ParseRequest checks a PKCS #10 request in DER form: signed by its own key, and that key on P-256.
func ParseRequest(der []byte) (Request, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return Request{}, errors.New("not a PKCS #10 request in DER form")
	}
	public, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return Request{}, errors.New("the key is not an ECDSA key on P-256")
	}
	if err := csr.CheckSignature(); err != nil {
		return Request{}, errors.New("the request is not signed by its own key")
	}
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return Request{SPKI: sum[:], public: public}, nil
}

// SignAgent returns the certificate (DER) of node in cluster, for the key of req. It starts an hour early, for hosts whose
// clocks are behind.
func (r *Root) SignAgent(cluster, node string, req Request, now time.Time) ([]byte, time.Time, error) {
	notAfter := now.Add(AgentLifetime).Truncate(time.Second)
	der, err := r.sign(&x509.Certificate{
		NotBefore:   now.Add(-skew),
		NotAfter:    notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{identity(cluster, roleAgent, node)},
	}, req.public)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("sign certificate of node %s: %w", node, err)
	}
	return der, notAfter, nil
}

// The roles in certificates.
const (
	roleAgent  = "agent"
	roleServer = "server"
)

// identity is gestor://<cluster>/<role>/<id>.
func identity(cluster, role, id string) *url.URL {
	return &url.URL{Scheme: "gestor", Host: cluster, Path: "/" + role + "/" + id}
}

// Agent is who stands behind a verified agent certificate.
type Agent struct {
	Node    string // "nod_…"
	SPKI    []byte // SHA-256 of its public key
	Expired bool   // it may renew and do nothing else
}

// AgentVerifier checks agents' certificates.
type AgentVerifier struct {
	Roots   *x509.CertPool
	Cluster string
	Now     func() time.Time
}

// Verify says which agent presented chain. It demands a signature of the agents' root, the agent role and this
// cluster; a server's certificate is refused. A certificate that ended less than RenewGrace ago is Expired.
func (v AgentVerifier) Verify(chain []*x509.Certificate) (Agent, error) {
	if len(chain) == 0 {
		return Agent{}, errors.New("no client certificate")
	}
	leaf, now := chain[0], v.Now()
	expired := now.After(leaf.NotAfter)
	at := now
	if expired {
		if now.After(leaf.NotAfter.Add(RenewGrace)) {
			return Agent{}, errors.New("the certificate ended more than 90 days ago; enroll the node again")
		}
		at = leaf.NotAfter
	}
	usages := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: v.Roots, CurrentTime: at, KeyUsages: usages}); err != nil {
		return Agent{}, fmt.Errorf("client certificate: %w", err)
	}
	node, err := idOf(leaf, v.Cluster, roleAgent)
	if err != nil {
		return Agent{}, err
	}
	return Agent{Node: node, SPKI: SPKIHash(leaf), Expired: expired}, nil
}

// idOf reads who somebody is out of the one URI the certificate may have, identity's counterpart.
func idOf(leaf *x509.Certificate, cluster, role string) (string, error) {
	if len(leaf.URIs) != 1 {
		return "", fmt.Errorf("the certificate names %d identities, want 1", len(leaf.URIs))
	}
	u := leaf.URIs[0]
	id, ok := strings.CutPrefix(u.Path, "/"+role+"/")
	switch {
	case u.Scheme != "gestor" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("the certificate has no gestor identity")
	case u.Host != cluster:
		return "", errors.New("the certificate belongs to another cluster")
	case !ok || !idPattern.MatchString(id):
		return "", fmt.Errorf("the certificate is not of a %s", map[string]string{roleAgent: "node's agent", roleServer: "control server"}[role])
	}
	return id, nil
}

// idPattern is read-only: the form of ids, a prefix and what follows.
var idPattern = regexp.MustCompile(`^[a-z]{2,8}_[a-z0-9]{1,64}$`)
