package servertest

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// Client calls one server, without repeating anything by itself: tests must see every outcome.
type Client struct {
	HTTP *http.Client
	URL  string

	options []connect.ClientOption
}

// Access is how a client calls.
type Access struct {
	From        string           // the endpoint it calls from; "people" if empty
	Consistency string           // of its reads, as in rpc.HeaderConsistency
	Anonymous   bool             // without the admin's token
	Token       string           // somebody else's, in place of the admin's
	Certificate *tls.Certificate // of an agent
	Seen        *rpc.Revision    // what the caller has seen, shared by its clients of other servers; its own if nil
}

// Client is the admin's way to a server.
func (c *Cluster) Client(s *Server) *Client { return c.Access(s, Access{}) }

// Any is the admin's way to the first server that runs. It remembers what it has seen.
func (c *Cluster) Any() *Client { return c.Access(c.running(), Access{Seen: &c.seen}) }

// running is the first server that runs; the first of all if none does.
func (c *Cluster) running() *Server {
	for _, s := range c.Servers {
		if s.Running() {
			return s
		}
	}
	return c.Servers[0]
}

// Seen is what the test has seen through Any, for those who must know as much.
func (c *Cluster) Seen() *rpc.Revision { return &c.seen }

// Access is a way to a server, over the network with the faults. It ends with the test.
func (c *Cluster) Access(s *Server, a Access) *Client {
	if a.From == "" {
		a.From = "people"
	}
	config := c.trust()
	if a.Certificate != nil {
		config.Certificates = []tls.Certificate{*a.Certificate}
	}
	h := headers{consistency: a.Consistency, seen: a.Seen}
	if !a.Anonymous {
		h.token = cmp.Or(a.Token, c.token)
	}
	client := newClient(c.Network.Endpoint(a.From), s.Public, config, h)
	c.t.Cleanup(client.HTTP.CloseIdleConnections)
	return client
}

// newClient calls an address from an endpoint.
func newClient(from *Endpoint, address string, config *tls.Config, h headers) *Client {
	if h.seen == nil {
		h.seen = &rpc.Revision{}
	}
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	t := &http.Transport{
		DialContext:         func(ctx context.Context, _, to string) (net.Conn, error) { return from.Dial(ctx, to) },
		TLSClientConfig:     config,
		TLSHandshakeTimeout: 5 * time.Second,
		Protocols:           protocols,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: time.Second, PingTimeout: time.Second},
	}
	return &Client{
		HTTP: &http.Client{Transport: t}, URL: "https://" + address,
		options: []connect.ClientOption{
			connect.WithReadMaxBytes(rpc.MaxUnaryBytes), connect.WithSendMaxBytes(rpc.MaxUnaryBytes),
			connect.WithInterceptors(rpc.ClientFaults(address), h),
		},
	}
}

// trust is a TLS configuration that takes the cluster's servers and nobody else.
func (c *Cluster) trust() *tls.Config {
	pin := c.pin
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		NextProtos:         []string{"h2"},
		InsecureSkipVerify: true, //nolint:gosec // the pin is checked in its place
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := rpc.PinnedRoot(s.PeerCertificates, pin)
			return err
		},
	}
}

// Options are what generated constructors take.
func (c *Client) Options() []connect.ClientOption { return c.options }

// Servers is the service of that name.
func (c *Client) Servers() gestorv1connect.ServerServiceClient {
	return gestorv1connect.NewServerServiceClient(c.HTTP, c.URL, c.options...)
}

// Apps is the service of that name.
func (c *Client) Apps() gestorv1connect.AppServiceClient {
	return gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.options...)
}

// Tasks is the service of that name.
func (c *Client) Tasks() gestorv1connect.TaskServiceClient {
	return gestorv1connect.NewTaskServiceClient(c.HTTP, c.URL, c.options...)
}

// Nodes is the service of that name.
func (c *Client) Nodes() gestorv1connect.NodeServiceClient {
	return gestorv1connect.NewNodeServiceClient(c.HTTP, c.URL, c.options...)
}

// Logs is the service of that name.
func (c *Client) Logs() gestorv1connect.LogServiceClient {
	return gestorv1connect.NewLogServiceClient(c.HTTP, c.URL, c.options...)
}

// Sessions is the service of that name.
func (c *Client) Sessions() gestorv1connect.SessionServiceClient {
	return gestorv1connect.NewSessionServiceClient(c.HTTP, c.URL, c.options...)
}

// Users is the service of that name.
func (c *Client) Users() gestorv1connect.UserServiceClient {
	return gestorv1connect.NewUserServiceClient(c.HTTP, c.URL, c.options...)
}

// Invitations is the service of that name.
func (c *Client) Invitations() gestorv1connect.InvitationServiceClient {
	return gestorv1connect.NewInvitationServiceClient(c.HTTP, c.URL, c.options...)
}

// Account is the service of that name.
func (c *Client) Account() gestorv1connect.AccountServiceClient {
	return gestorv1connect.NewAccountServiceClient(c.HTTP, c.URL, c.options...)
}

// headers says who calls and how fresh answers must be.
type headers struct {
	token, consistency string
	seen               *rpc.Revision
}

var _ connect.Interceptor = headers{}

func (h headers) add(to http.Header) {
	if h.token != "" {
		to.Set("Authorization", "Bearer "+h.token)
	}
	if h.consistency != "" {
		to.Set(rpc.HeaderConsistency, h.consistency)
	}
	if seen := h.seen.Get(); seen > 0 {
		to.Set(rpc.HeaderMinRevision, strconv.FormatUint(seen, 10))
	}
}

func (h headers) saw(answer http.Header) {
	if revision, err := strconv.ParseUint(answer.Get(rpc.HeaderRevision), 10, 64); err == nil {
		h.seen.Saw(revision)
	}
}

// WrapUnary implements connect.Interceptor.
func (h headers) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		h.add(req.Header())
		res, err := next(ctx, req)
		if err == nil {
			h.saw(res.Header())
		}
		return res, err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (h headers) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return func(ctx context.Context, spec connect.Spec) connect.StreamingClientConn {
		conn := next(ctx, spec)
		h.add(conn.RequestHeader())
		return conn
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (h headers) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
