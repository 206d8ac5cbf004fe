package client

import (
	"context"
	"crypto/x509"
	"net"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Options is how to talk to an installation.
type Options struct {
	URL         string   // https://host or https://host:port
	Servers     []Server // more of its servers, or all; asked before URL
	Token       string   // bearer; empty before signing in
	Roots       string   // PEM; the system's roots if empty
	Cluster     string   // the installation's id; if it is known, certificates under Roots may be for any address
	Version     string   // of this program
	Consistency string   // of reads, see rpc.Options
	Moved       func(rpc.Move)
	Told        func(header string) // of all servers, see rpc.HeaderServers

	// Prove proves again who calls when a call was refused for want of that; the call is made again if it returns nil. It may
	// be nil.
	Prove func(ctx context.Context, c *Client, refusal error) error
}

// Client talks to one server of an installation, over one connection that is made with the first call, and to another when
// that one fails.
type Client struct {
	*rpc.Client

	prove func(ctx context.Context, c *Client, refusal error) error
}

// New returns a client. It does not connect.
func New(o Options) (*Client, error) {
	base, err := CheckURL(o.URL)
	if err != nil {
		return nil, err
	}
	roots, err := pool(o.Roots)
	if err != nil {
		return nil, err
	}
	r := rpc.Options{
		Roots:       roots,
		Token:       func() string { return o.Token },
		Version:     o.Version,
		Consistency: o.Consistency,
		Moved:       o.Moved,
		Servers:     o.Told,
	}
	for _, s := range o.Servers {
		r.Addresses = append(r.Addresses, s.Address)
	}
	r.Addresses = append(r.Addresses, Address(base))
	if roots != nil && o.Cluster != "" {
		r.ServerName = rpc.ServerName(o.Cluster)
	}
	return &Client{rpc.New(r), o.Prove}, nil
}

func pool(roots string) (*x509.CertPool, error) {
	if roots == "" {
		return nil, nil //nolint:nilnil // nil means the system's roots, as in crypto/tls
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM([]byte(roots)) {
		return nil, fault.Invalid("roots", "the server's roots are not PEM certificates").WithFix("sign in again with gestor login")
	}
	return p, nil
}

// Address is the host and port of an address as CheckURL returns it.
func Address(base string) string {
	host := strings.TrimPrefix(base, "https://")
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), "443")
}

// Setup is the service that claims a fresh server.
func (c *Client) Setup() gestorv1connect.SetupServiceClient {
	return gestorv1connect.NewSetupServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Sessions is the service that signs in and out.
func (c *Client) Sessions() gestorv1connect.SessionServiceClient {
	return gestorv1connect.NewSessionServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Tenants is the service of the customers of the installation.
func (c *Client) Tenants() gestorv1connect.TenantServiceClient {
	return gestorv1connect.NewTenantServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Nodes is the service of the hosts.
func (c *Client) Nodes() gestorv1connect.NodeServiceClient {
	return gestorv1connect.NewNodeServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Apps is the service of the applications.
func (c *Client) Apps() gestorv1connect.AppServiceClient {
	return gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Builds is the service of the builds.
func (c *Client) Builds() gestorv1connect.BuildServiceClient {
	return gestorv1connect.NewBuildServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Releases is the service of the releases.
func (c *Client) Releases() gestorv1connect.ReleaseServiceClient {
	return gestorv1connect.NewReleaseServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Deployments is the service that brings releases live.
func (c *Client) Deployments() gestorv1connect.DeploymentServiceClient {
	return gestorv1connect.NewDeploymentServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Tasks is the service of the agents' work.
func (c *Client) Tasks() gestorv1connect.TaskServiceClient {
	return gestorv1connect.NewTaskServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Logs is the service that reads logs.
func (c *Client) Logs() gestorv1connect.LogServiceClient {
	return gestorv1connect.NewLogServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Tokens is the tokens of programs.
func (c *Client) Tokens() gestorv1connect.TokenServiceClient {
	return gestorv1connect.NewTokenServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Logins signs terminals in from a browser.
func (c *Client) Logins() gestorv1connect.LoginServiceClient {
	return gestorv1connect.NewLoginServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Servers is the service of the control servers.
func (c *Client) Servers() gestorv1connect.ServerServiceClient {
	return gestorv1connect.NewServerServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Audit is the service of the audit log.
func (c *Client) Audit() gestorv1connect.AuditServiceClient {
	return gestorv1connect.NewAuditServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Protections is the service of protected environments.
func (c *Client) Protections() gestorv1connect.ProtectionServiceClient {
	return gestorv1connect.NewProtectionServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Events is what people want to hear of.
func (c *Client) Events() gestorv1connect.EventServiceClient {
	return gestorv1connect.NewEventServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Channels is the ways by which events reach people.
func (c *Client) Channels() gestorv1connect.ChannelServiceClient {
	return gestorv1connect.NewChannelServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Providers is the service of other places where people may sign in.
func (c *Client) Providers() gestorv1connect.ProviderServiceClient {
	return gestorv1connect.NewProviderServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Permissions is the service that tells who may do what.
func (c *Client) Permissions() gestorv1connect.PermissionServiceClient {
	return gestorv1connect.NewPermissionServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Users is the service of the tenant's people.
func (c *Client) Users() gestorv1connect.UserServiceClient {
	return gestorv1connect.NewUserServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Invitations is the service that lets people in.
func (c *Client) Invitations() gestorv1connect.InvitationServiceClient {
	return gestorv1connect.NewInvitationServiceClient(c.HTTP, c.URL, c.Options()...)
}

// Account is the service of one's own account.
func (c *Client) Account() gestorv1connect.AccountServiceClient {
	return gestorv1connect.NewAccountServiceClient(c.HTTP, c.URL, c.Options()...)
}
