package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Root is a certificate that a server says its own leads to. Nothing vouches for it until its pin is compared.
type Root struct {
	PEM     string
	Pin     string // SHA-256 of the public key (SPKI), hex
	Subject string
	Expires time.Time
}

// CheckURL returns the server's address in its plain form. Only https is taken: a token never travels in the clear.
func CheckURL(raw string) (string, error) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "", fault.Invalid("url", "%q is not an address", raw).WithFix("give it like https://gestor.example.com:8443")
	}
	if u.Scheme != "https" {
		return "", fault.Invalid("url", "%s:// would send your password in the clear", u.Scheme).WithFix("use https://%s", u.Host)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", fault.Invalid("url", "the address has more than a host and a port").WithFix("use https://%s", u.Host)
	}
	return "https://" + u.Host, nil
}

// PubliclyTrusted reports whether the system's own roots vouch for the server. An error means it cannot be reached.
func PubliclyTrusted(ctx context.Context, base string) (bool, error) {
	_, err := fetch(ctx, base, &tls.Config{MinVersion: tls.VersionTLS13})
	if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad {
		return false, nil
	}
	return err == nil, err
}

// FetchRoots reads base/ca.pem without believing it: compare a pin, or ask a person, before using what it returns.
func FetchRoots(ctx context.Context, base string) ([]Root, error) {
	raw, err := fetch(ctx, base, &tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true, //nolint:gosec // nothing secret is sent and the answer is trusted only by its pin
	})
	if err != nil {
		return nil, err
	}
	var roots []Root
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" && cert.IsCA {
			roots = append(roots, newRoot(cert))
		}
	}
	if len(roots) == 0 {
		return nil, fault.Unavailable("%s/ca.pem holds no root certificate", base).WithFix("check that it is a Gestor server")
	}
	return roots, nil
}

func newRoot(cert *x509.Certificate) Root {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	block := &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}
	return Root{
		PEM:     string(pem.EncodeToMemory(block)),
		Pin:     hex.EncodeToString(sum[:]),
		Subject: cert.Subject.String(),
		Expires: cert.NotAfter,
	}
}

// Pinned returns the roots' PEM if one of them has the pin, and only that one.
func Pinned(roots []Root, pin string) (string, error) {
	want := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(pin), "sha256:"), ":", ""))
	if raw, err := hex.DecodeString(want); err != nil || len(raw) != sha256.Size {
		return "", fault.Invalid("pin", "a pin is 64 hexadecimal digits").WithFix("copy it from the server's first start")
	}
	for _, r := range roots {
		if r.Pin == want {
			return r.PEM, nil
		}
	}
	return "", fault.Denied("the server's root has the pin %s, not the one you gave; nothing was sent", roots[0].Pin).
		WithFix("check the address and the pin; if both are right, somebody is between you and the server")
}

const maxRoots = 64 << 10

func fetch(ctx context.Context, base string, conf *tls.Config) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/ca.pem", nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{TLSClientConfig: conf, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
	res, err := hc.Do(req)
	if err != nil {
		return nil, rpc.Decode(err, Address(base))
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fault.Unavailable("%s/ca.pem answers %s", base, res.Status).WithFix("check that it is a Gestor server")
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxRoots))
	return bytes.TrimSpace(raw), err
}
