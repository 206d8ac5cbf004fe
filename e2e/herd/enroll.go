package herd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Options say how many agents there are and where they go.
type Options struct {
	Agents  int
	Prefix  string                            // of the nodes' names
	Nodes   gestorv1connect.NodeServiceClient // makes the join tokens
	Servers []string                          // host:port, of which each agent takes one
	Pin     []byte                            // of the servers' root
	Tasks   func(task string)                 // called when a task arrives at an agent; may be nil
}

// Herd is agents that have enrolled.
type Herd struct {
	o      Options
	agents []*agent
	roots  *x509.CertPool
	name   string // of the servers in their certificates
	count  counters
}

// enrolAtOnce stays below what a server takes for guessing when it comes from one address.
const enrolAtOnce = 8

// Enroll makes the nodes.
func Enroll(ctx context.Context, o Options) (*Herd, error) {
	h := &Herd{o: o, agents: make([]*agent, o.Agents), roots: x509.NewCertPool()}
	client := rpc.New(rpc.Options{Address: o.Servers[0], Pin: o.Pin})
	defer client.Close()
	enrollment := agentv1connect.NewEnrollmentServiceClient(client.HTTP, client.URL, client.Options()...)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(enrolAtOnce)
	for i := range o.Agents {
		g.Go(func() error {
			a, identity, err := h.enroll(ctx, enrollment, fmt.Sprintf("%s-%d", o.Prefix, i))
			if err != nil {
				return fmt.Errorf("enrol agent %d: %w", i, err)
			}
			h.agents[i] = a
			if i == 0 {
				return h.trust(identity)
			}
			return nil
		})
	}
	return h, g.Wait()
}

func (h *Herd) trust(identity *agentv1.Identity) error {
	for _, der := range identity.GetServerRoots() {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		h.roots.AddCert(root)
	}
	h.name = rpc.ServerName(identity.GetClusterId())
	return nil
}

func (h *Herd) enroll(ctx context.Context, to agentv1connect.EnrollmentServiceClient, name string) (*agent, *agentv1.Identity, error) {
	token, err := h.o.Nodes.CreateJoinToken(ctx, &gestorv1.CreateJoinTokenRequest{Name: name})
	if err != nil {
		return nil, nil, err
	}
	parts := strings.Split(token.GetToken(), ".")
	if len(parts) != 4 {
		return nil, nil, errors.New("the join token has another form than expected")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, err
	}
	answer, err := to.Enroll(ctx, &agentv1.EnrollRequest{
		TokenId: parts[2], TokenSecret: parts[3], Csr: csr, Facts: &gestorv1.NodeFacts{Hostname: name, Cpus: 2, Os: "linux"},
	})
	if err != nil {
		return nil, nil, err
	}
	identity := answer.GetIdentity()
	return &agent{
		herd: h, name: name, pending: map[string]uint64{},
		certificate: tls.Certificate{Certificate: [][]byte{identity.GetCertificate()}, PrivateKey: key},
	}, identity, nil
}
