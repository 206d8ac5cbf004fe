package peer

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/cluster"
)

// Client is how to reach the peer services of one server. Hand HTTP, URL and Options to a generated constructor:
//
//	storage := peerv1connect.NewStorageServiceClient(c.HTTP, c.URL, c.Options...)
//
// It is safe for concurrent use. Errors come back as faults.
type Client struct {
	HTTP    *http.Client
	URL     string
	Options []connect.ClientOption

	transport *http.Transport
	address   string
}

// callTimeout is of unary calls without a deadline of their own.
const callTimeout = 10 * time.Second

// Self is this server's id.
func (p *Port) Self() string { return p.o.Self }

// Others are the other members, voters or not, as this server knows them.
func (p *Port) Others() []cluster.Member {
	var out []cluster.Member
	for _, m := range p.known() {
		if m.ID != p.o.Self {
			out = append(out, m)
		}
	}
	return out
}

// Majority is how many members, this one included, are more than half of the voters; 1 where there is no other.
func (p *Port) Majority() int {
	voters := 0
	for _, m := range p.known() {
		if m.Voter {
			voters++
		}
	}
	return voters/2 + 1
}

// Leader is the id of the server that leads, as far as this one knows; empty if there is none.
func (p *Port) Leader() string {
	p.mu.Lock()
	leader := p.leader
	p.mu.Unlock()
	if leader == nil {
		return ""
	}
	return leader()
}

// Client reaches the member with that id. It connects at the first call.
func (p *Port) Client(id string) (*Client, error) {
	for _, m := range p.known() {
		if m.ID == id {
			return p.client(m), nil
		}
	}
	return nil, fault.NotFound("server %s is no member of this cluster", id)
}

// client keeps one client for each member, a new one when its address has changed.
func (p *Port) client(m cluster.Member) *Client {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[m.ID]; c != nil {
		if c.address == m.Address {
			return c
		}
		c.transport.CloseIdleConnections()
	}
	c := p.newClient(m)
	p.clients[m.ID] = c
	return c
}

func (p *Port) newClient(m cluster.Member) *Client {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	t := &http.Transport{
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := p.dial(ctx, m.Address, m.ID, protocolHTTP)
			if err != nil {
				return nil, errors.Join(err, ErrNotConnected)
			}
			return conn, nil
		},
		Protocols:       protocols,
		IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  2 * time.Second, // a server that is gone is noticed in a few seconds
			PingTimeout:      2 * time.Second,
			WriteByteTimeout: 5 * time.Second,
		},
	}
	return &Client{
		HTTP: &http.Client{Transport: t}, URL: "https://" + m.Address, transport: t, address: m.Address,
		Options: []connect.ClientOption{
			connect.WithReadMaxBytes(rpc.MaxUnaryBytes), connect.WithSendMaxBytes(rpc.MaxUnaryBytes),
			connect.WithInterceptors(rpc.ClientFaults("server "+m.ID), deadline{}),
		},
	}
}

// deadline gives unary calls without one a deadline.
type deadline struct{}

var _ connect.Interceptor = deadline{}

func (deadline) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
		if _, ok := ctx.Deadline(); !ok {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, callTimeout)
			defer cancel()
		}
		return next(ctx, req)
	}
}

func (deadline) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

func (deadline) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return next
}
