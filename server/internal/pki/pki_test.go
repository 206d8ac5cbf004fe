package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/pki"
)

const cluster = "clu_abc123"

func epoch() time.Time { return time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC) }

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

func newRoot(t *testing.T, role string) *pki.Root {
	t.Helper()
	root, err := pki.NewRoot(cluster, role, epoch())
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newCSR(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "root of all"}, DNSNames: []string{"server.evil"},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func newAgent(t *testing.T, root *pki.Root, cluster, node string) *x509.Certificate {
	t.Helper()
	req, err := pki.ParseRequest(newCSR(t, newKey(t, elliptic.P256())))
	if err != nil {
		t.Fatal(err)
	}
	der, _, err := root.SignAgent(cluster, node, req, epoch())
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestVerify_TakesAnAgentAndIgnoresTheSubjectOfItsRequest(t *testing.T) {
	root := newRoot(t, "agent")
	cert := newAgent(t, root, cluster, "nod_1")
	got, err := pki.AgentVerifier{Roots: root.Pool(), Cluster: cluster, Now: at(epoch())}.Verify([]*x509.Certificate{cert})
	if err != nil || got.Node != "nod_1" || got.Expired || !pki.SameHash(got.SPKI, pki.SPKIHash(cert)) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if cert.Subject.CommonName != "" || len(cert.DNSNames) != 0 {
		t.Fatalf("the request's subject got through: %v %v", cert.Subject, cert.DNSNames)
	}
}

func TestVerify_Refuses(t *testing.T) {
	agents, servers, foreign := newRoot(t, "agent"), newRoot(t, "server"), newRoot(t, "agent")
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: agents, Cluster: cluster, Server: "srv_1", Now: at(epoch())})
	if err != nil {
		t.Fatal(err)
	}
	server, err := leaf.Certificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	late := epoch().Add(pki.AgentLifetime + pki.RenewGrace + time.Minute)
	cases := map[string]struct {
		cert *x509.Certificate
		now  time.Time
	}{
		"another root":                       {newAgent(t, foreign, cluster, "nod_1"), epoch()},
		"the servers' root":                  {newAgent(t, servers, cluster, "nod_1"), epoch()},
		"another cluster":                    {newAgent(t, agents, "clu_other", "nod_1"), epoch()},
		"a path in the node":                 {newAgent(t, agents, cluster, "nod_1/../../server/srv_1"), epoch()},
		"no node":                            {newAgent(t, agents, cluster, ""), epoch()},
		"a server, even under the same root": {server.Leaf, epoch()},
		"the root itself":                    {agents.Certificate, epoch()},
		"expired for too long":               {newAgent(t, agents, cluster, "nod_1"), late},
		"from the future":                    {newAgent(t, agents, cluster, "nod_1"), epoch().Add(-2 * time.Hour)},
	}
	for name, c := range cases {
		v := pki.AgentVerifier{Roots: agents.Pool(), Cluster: cluster, Now: at(c.now)}
		if got, err := v.Verify([]*x509.Certificate{c.cert}); err == nil {
			t.Errorf("%s: accepted as %+v", name, got)
		}
	}
}

func TestVerify_MarksACertificateExpiredWithinTheGrace(t *testing.T) {
	root := newRoot(t, "agent")
	cert := newAgent(t, root, cluster, "nod_1")
	for after, want := range map[time.Duration]bool{-time.Minute: false, time.Minute: true, 89 * 24 * time.Hour: true} {
		v := pki.AgentVerifier{Roots: root.Pool(), Cluster: cluster, Now: at(cert.NotAfter.Add(after))}
		if got, err := v.Verify([]*x509.Certificate{cert}); err != nil || got.Expired != want {
			t.Errorf("%v after the end: got %+v, %v, want Expired %v", after, got, err, want)
		}
	}
}

func TestParseRequest_TakesOnlyP256SignedByItself(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged := newCSR(t, newKey(t, elliptic.P256()))
	forged[len(forged)-1] ^= 1
	cases := map[string][]byte{
		"P-384": newCSR(t, newKey(t, elliptic.P384())), "Ed25519": newCSR(t, ed),
		"a forged signature": forged, "garbage": []byte("x"), "nothing": nil,
	}
	for name, der := range cases {
		if _, err := pki.ParseRequest(der); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestLoadRoot_RefusesAKeyOfAnotherRoot(t *testing.T) {
	a, b := newRoot(t, "server"), newRoot(t, "server")
	key, err := a.MarshalKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadRoot(a.Certificate.Raw, key); err != nil {
		t.Fatal(err)
	}
	if _, err := pki.LoadRoot(b.Certificate.Raw, key); err == nil {
		t.Fatal("accepted")
	}
}

func TestServerLeaf_IsRenewedAfterTwoThirdsWithoutARestart(t *testing.T) {
	now := epoch()
	root := newRoot(t, "server")
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{
		Root: root, Cluster: cluster, Server: "srv_1", Hosts: []string{"ctl.example", "192.0.2.7"},
		Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	first, _ := leaf.Certificate(nil)
	now = now.Add(59 * 24 * time.Hour)
	if same, _ := leaf.Certificate(nil); same != first {
		t.Fatal("renewed too early")
	}
	now = now.Add(2 * 24 * time.Hour)
	second, _ := leaf.Certificate(nil)
	if second == first {
		t.Fatal("not renewed")
	}
	for _, name := range []string{rpc.ServerName(cluster), "ctl.example", "192.0.2.7", "localhost", "127.0.0.1"} {
		_, err := second.Leaf.Verify(x509.VerifyOptions{Roots: root.Pool(), DNSName: name, CurrentTime: now})
		if err != nil {
			t.Errorf("name %s: %v", name, err)
		}
	}
}

// handshake runs one TLS handshake over TCP and returns the server's error.
func handshake(t *testing.T, server *tls.Config, cert *tls.Certificate) error {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := &tls.Config{
		InsecureSkipVerify: true, // the server's side is under test
		NextProtos:         []string{"h2"},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if cert == nil {
				return &tls.Certificate{}, nil
			}
			return cert, nil
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := tls.Dial("tcp", l.Addr().String(), client); err == nil {
			_, _ = c.Read(make([]byte, 1)) // until the server closes
			_ = c.Close()
		}
	}()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	err = tls.Server(conn, server).HandshakeContext(t.Context())
	_ = conn.Close()
	<-done
	return err
}

func TestServerConfig_EndsTheHandshakeOfForeignCertificatesOnly(t *testing.T) {
	agents, foreign, servers := newRoot(t, "agent"), newRoot(t, "agent"), newRoot(t, "server")
	leaf, err := pki.NewServerLeaf(pki.LeafOptions{Root: servers, Cluster: cluster, Server: "srv_1", Now: at(epoch())})
	if err != nil {
		t.Fatal(err)
	}
	withKey := func(root *pki.Root) *tls.Certificate {
		key := newKey(t, elliptic.P256())
		req, err := pki.ParseRequest(newCSR(t, key))
		if err != nil {
			t.Fatal(err)
		}
		der, _, err := root.SignAgent(cluster, "nod_1", req, epoch())
		if err != nil {
			t.Fatal(err)
		}
		return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	}
	config := pki.ServerConfig(leaf, pki.AgentVerifier{Roots: agents.Pool(), Cluster: cluster, Now: at(epoch())})
	if err := handshake(t, config, nil); err != nil {
		t.Errorf("without a certificate: %v", err)
	}
	if err := handshake(t, config, withKey(agents)); err != nil {
		t.Errorf("an agent: %v", err)
	}
	if err := handshake(t, config, withKey(foreign)); err == nil {
		t.Error("an agent of another root got in")
	}
	late := pki.ServerConfig(leaf, pki.AgentVerifier{Roots: agents.Pool(), Cluster: cluster, Now: at(epoch().Add(25 * time.Hour))})
	if err := handshake(t, late, withKey(agents)); err != nil {
		t.Errorf("an agent that comes to renew: %v", err)
	}
}

func TestJoinToken_RoundTripsAndHasOneSpelling(t *testing.T) {
	token := pki.NewJoinToken(newRoot(t, "server").Pin())
	got, err := pki.ParseJoinToken(token.String())
	if err != nil || got.String() != token.String() || !slices.Equal(got.Pin, token.Pin) {
		t.Fatalf("got %v, %v", got, err)
	}
	text := token.String()
	for _, bad := range []string{
		"", "gst1", strings.ToUpper(text), text + "=", text + "\n", " " + text, text + ".x", strings.Replace(text, "gst1", "gst2", 1), text[:len(text)-1],
	} {
		if _, err := pki.ParseJoinToken(bad); err == nil {
			t.Errorf("accepted %q", bad)
		} else if strings.Contains(err.Error(), token.Secret) {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
}

func FuzzParseJoinToken_AcceptsOnlyWhatItPrints(f *testing.F) {
	f.Add(pki.NewJoinToken(make([]byte, 32)).String())
	f.Add("gst1...")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := pki.ParseJoinToken(s)
		if err == nil && token.String() != s {
			t.Fatalf("%q parses but prints as %q", s, token.String())
		}
	})
}

func FuzzParseRequest_NeverPanics(f *testing.F) {
	f.Add([]byte{0x30, 0x03})
	f.Fuzz(func(_ *testing.T, der []byte) { _, _ = pki.ParseRequest(der) })
}
