// Package identity is who this host is to the control servers: a key that never leaves it, a certificate, the roots
// that sign servers, and where the servers are.
//
// Join turns a join token into an identity; the server is verified against the token's pin before the secret is sent.
// Keeper holds the identity, gives out TLS clients and renews the certificate, also one that has expired while
// the host was off. The package starts no session and runs no task.
package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const (
	keyName      = "key.pem"
	identityName = "identity.json"
)

// Identity is what a join gave this host.
type Identity struct {
	NodeID      string    `json:"node_id"`
	NodeName    string    `json:"node_name"`
	ClusterID   string    `json:"cluster_id"`
	Certificate []byte    `json:"certificate"`  // DER
	ServerRoots [][]byte  `json:"server_roots"` // DER
	Servers     []string  `json:"servers"`      // host:port
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
	Generation  uint64    `json:"generation"`
}

// ServerName is the name every server of the cluster has in its certificate, so that addresses may change freely.
func (i Identity) ServerName() string { return rpc.ServerName(i.ClusterID) }

// Dir is the folder that holds an identity.
type Dir string

// Load reads the identity and its key. Without one the error is fault.KindNotFound.
func (d Dir) Load() (Identity, *ecdsa.PrivateKey, error) {
	var i Identity
	b, err := os.ReadFile(d.path(identityName))
	if errors.Is(err, os.ErrNotExist) {
		return i, nil, fault.NotFound("this host has not joined a cluster").
			WithFix("run: GESTOR_TOKEN=… gestor-agent join --server https://<server>")
	}
	if err != nil {
		return i, nil, fmt.Errorf("read identity: %w", err)
	}
	if err := json.Unmarshal(b, &i); err != nil {
		return i, nil, fmt.Errorf("read identity %s: %w", d.path(identityName), err)
	}
	key, err := d.readKey()
	if err != nil {
		return i, nil, err
	}
	return i, key, i.matches(key)
}

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

func (i Identity) matches(key *ecdsa.PrivateKey) error {
	c, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		return fmt.Errorf("parse this host's certificate: %w", err)
	}
	if !key.PublicKey.Equal(c.PublicKey) {
		return errors.New("this host's certificate is not for its key: restore the identity folder or join again")
	}
	return nil
}

// Key returns the host's key, making it at first.
func (d Dir) Key() (*ecdsa.PrivateKey, error) {
	key, err := d.readKey()
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, fmt.Errorf("make identity folder: %w", err)
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return key, d.write(keyName, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (d Dir) readKey() (*ecdsa.PrivateKey, error) {
	b, err := os.ReadFile(d.path(keyName))
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("read key %s: no PEM block in it", d.path(keyName))
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("read key %s: %w", d.path(keyName), err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("read key %s: it is not an ECDSA key", d.path(keyName))
	}
	return key, nil
}

// Store saves an identity in one step.
func (d Dir) Store(i Identity) error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return fmt.Errorf("encode identity: %w", err)
	}
	return d.write(identityName, b)
}

// write replaces a file durably: after a crash either the old or the new content is there.
func (d Dir) write(name string, b []byte) error {
	temp, err := os.OpenFile(d.path(name)+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	_, err = temp.Write(b)
	if err == nil {
		err = temp.Sync()
	}
	if cerr := temp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(temp.Name(), d.path(name))
	}
	if err == nil {
		err = syncDir(string(d))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return dir.Sync()
}

// signingRequest proves that this host has the key. Its subject means nothing: names and roles come from the server.
func signingRequest(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate request: %w", err)
	}
	return der, nil
}

// fromProto checks an identity a server sent before it takes the place of the one in use.
func fromProto(p *agentv1.Identity, key *ecdsa.PrivateKey) (Identity, error) {
	i := Identity{
		NodeID: p.GetNodeId(), NodeName: p.GetNodeName(), ClusterID: p.GetClusterId(), Certificate: p.GetCertificate(),
		ServerRoots: p.GetServerRoots(), Servers: p.GetServers(), Generation: p.GetGeneration(),
	}
	if i.NodeID == "" || i.ClusterID == "" || len(i.ServerRoots) == 0 {
		return i, errors.New("the server sent an identity that is not complete: check that its version fits this agent's")
	}
	if err := i.matches(key); err != nil {
		return i, err
	}
	for _, der := range i.ServerRoots {
		if _, err := x509.ParseCertificate(der); err != nil {
			return i, fmt.Errorf("parse a server root: %w", err)
		}
	}
	c, err := x509.ParseCertificate(i.Certificate)
	if err != nil {
		return i, fmt.Errorf("parse this host's certificate: %w", err)
	}
	i.NotBefore, i.NotAfter = c.NotBefore, c.NotAfter
	return i, nil
}

func tlsCertificate(i Identity, key *ecdsa.PrivateKey) *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{i.Certificate}, PrivateKey: key}
}
