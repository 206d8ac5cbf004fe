package agenttest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const clusterID = "clu_test"

// authority is the root of a server, which for tests signs agents, too.
type authority struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate
	life time.Duration // of agents' certificates; negative makes expired ones
}

type joinToken struct {
	secret  string
	expires time.Time
	usedBy  string
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatalf("make root: %v", err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("parse root: %v", err)
	}
	return &authority{key: key, root: root, life: time.Hour}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make key: %v", err)
	}
	return key
}

func (a *authority) serverCertificate(t testing.TB) tls.Certificate {
	t.Helper()
	key := newKey(t)
	der, err := a.sign(key.Public(), "server", time.Hour, x509.ExtKeyUsageServerAuth, rpc.ServerName(clusterID))
	if err != nil {
		t.Fatalf("sign server: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der, a.root.Raw}, PrivateKey: key}
}

func (a *authority) sign(key crypto.PublicKey, name string, life time.Duration, usage x509.ExtKeyUsage, dns ...string) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: dns,
		NotBefore: time.Now().Add(min(life, 0) - time.Minute), NotAfter: time.Now().Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
	}, a.root, key, a.key)
}

// Token makes a join token that is good for ttl; a negative one makes an expired token. Its id is "tok".
func (s *Server) Token(ttl time.Duration) string {
	pin := sha256.Sum256(s.ca.root.RawSubjectPublicKeyInfo)
	s.update(func() { s.tokens["tok"] = &joinToken{secret: "s3cret", expires: time.Now().Add(ttl)} })
	return "gst1." + hex.EncodeToString(pin[:]) + ".tok.s3cret"
}

type enrollmentService struct {
	agentv1connect.UnimplementedEnrollmentServiceHandler
	s *Server
}

// Enroll signs against a token, once per key.
func (e enrollmentService) Enroll(_ context.Context, r *agentv1.EnrollRequest) (*agentv1.EnrollResponse, error) {
	csr, err := x509.ParseCertificateRequest(r.GetCsr())
	if err != nil || csr.CheckSignature() != nil {
		return nil, fault.Invalid("csr", "this is no certificate request")
	}
	spki := string(csr.RawSubjectPublicKeyInfo)
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	token, ok := e.s.tokens[r.GetTokenId()]
	switch {
	case !ok || token.secret != r.GetTokenSecret():
		return nil, fault.Denied("this join token is not valid").WithFix("make a new one: gestor node token <name>")
	case time.Now().After(token.expires):
		return nil, fault.Denied("this join token has expired").WithFix("make a new one: gestor node token <name>")
	case token.usedBy != "" && token.usedBy != spki:
		return nil, fault.Conflict("this join token was used by another host").WithFix("make a new one: gestor node token <name>")
	}
	token.usedBy = spki
	identity, err := e.s.identity(csr.PublicKey, 1)
	return &agentv1.EnrollResponse{Identity: identity}, err
}

// Renew signs again for whoever has a certificate of this authority, also an expired one. As with the real server, a
// generation is followed by one request only, whose answer may be had again and again.
func (e enrollmentService) Renew(_ context.Context, r *agentv1.RenewRequest) (*agentv1.RenewResponse, error) {
	csr, err := x509.ParseCertificateRequest(r.GetCsr())
	if err != nil || csr.CheckSignature() != nil {
		return nil, fault.Invalid("csr", "this is no certificate request")
	}
	e.s.mu.Lock()
	defer e.s.mu.Unlock()
	first, ok := e.s.renewals[r.GetGeneration()]
	if ok && first != string(r.GetCsr()) {
		return nil, fault.Conflict("another host has the same key")
	}
	e.s.renewals[r.GetGeneration()] = string(r.GetCsr())
	if e.s.loseRenewal {
		e.s.loseRenewal = false
		return nil, fault.Unavailable("the answer was lost")
	}
	identity, err := e.s.identity(csr.PublicKey, r.GetGeneration()+1)
	return &agentv1.RenewResponse{Identity: identity}, err
}

// LoseNextRenewal renews the next certificate without telling the agent.
func (s *Server) LoseNextRenewal() { s.update(func() { s.loseRenewal = true }) }

// CertificateLife sets how long agents' certificates signed from now on are good; a negative time makes expired ones.
func (s *Server) CertificateLife(d time.Duration) { s.update(func() { s.ca.life = d }) }

// verified refuses sessions of agents without a valid certificate. An expired one is good enough to renew it.
func (s *Server) verified(next http.Handler) http.Handler {
	roots := x509.NewCertPool()
	roots.AddCert(s.ca.root)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := errors.New("no certificate")
		if len(r.TLS.PeerCertificates) > 0 {
			_, err = r.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			})
		}
		if err != nil {
			s.t.Logf("%s: %v", r.URL.Path, err)
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) identity(key crypto.PublicKey, generation uint64) (*agentv1.Identity, error) {
	der, err := s.ca.sign(key, "agent", s.ca.life, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return nil, err
	}
	return &agentv1.Identity{
		NodeId: "nod_test", NodeName: "web1", ClusterId: clusterID, Certificate: der, ServerRoots: [][]byte{s.ca.root.Raw},
		Servers: []string{s.address}, NotAfter: timestamppb.New(time.Now().Add(s.ca.life)), Generation: generation,
	}, nil
}
