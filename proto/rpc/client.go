package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
)

// Options say whom to call and as whom. An address is mandatory, and one of Roots and Pin unless the servers' certificates
// are from a public authority.
type Options struct {
	Address     string                           // host:port of the server
	Addresses   []string                         // of servers of the same installation, tried after Address, in this order
	ServerName  string                           // the name their certificates must have, see the function; the address's host if empty
	Roots       *x509.CertPool                   // who may have signed it; the system's roots if nil
	Pin         []byte                           // SHA-256 of the root's public key (SPKI); takes the place of Roots and ServerName
	Certificate func() (*tls.Certificate, error) // this side's certificate, asked for at each handshake; nil for none
	Token       func() string                    // bearer token, asked for at each call; nil or "" for none
	Version     string                           // this program's version
	Timeout     time.Duration                    // of unary calls without a deadline of their own; 30 s if 0
	Servers     func(header string)              // is told of all servers with every answer that names them, as in HeaderServers; may be nil
	Revision    *Revision                        // shared memory of the highest revision seen; a new one if nil
	Consistency string                           // how fresh reads must be: ConsistencyLeader, the default, or ConsistencyLocal
	Check       time.Duration                    // how soon to give up a server that does not answer, twice that for one that falls silent; see timesFor if 0
	Tickets     tls.ClientSessionCache           // of TLS, shared by clients of servers of one ServerName; one of its own if nil
	Moved       func(Move)                       // told when another server than before has answered; called by the call's goroutine
}

// Client is how to reach an installation, by one server or by several. With several it keeps to the one that works. A
// call that fails there before it was answered is made again at the next one, for ten seconds, if it only reads, has a
// request id, was certainly not sent, or the server says that nothing was done; a stream of the server until its first
// message. With one address every call is made once. Hand HTTP, URL and Options() to a generated constructor:
//
//	apps := gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...)
//
// It is safe for concurrent use.
type Client struct {
	HTTP     *http.Client
	URL      string // https://host:port
	Revision *Revision

	servers   *addresses
	transport *http.Transport
	options   []connect.ClientOption
}

// New returns a client. It connects at the first call.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if o.Revision == nil {
		o.Revision = &Revision{}
	}
	servers := newAddresses(o)
	transport := newTransport(tlsConfig(o), timesFor(o, servers))
	return &Client{
		HTTP:      &http.Client{Transport: router{transport}, CheckRedirect: noRedirect},
		URL:       "https://" + servers.all[0],
		Revision:  o.Revision,
		servers:   servers,
		transport: transport,
		options: []connect.ClientOption{
			connect.WithReadMaxBytes(MaxUnaryBytes),
			connect.WithSendMaxBytes(MaxUnaryBytes),
			connect.WithInterceptors(interceptors(o, servers)...),
		},
	}
}

func interceptors(o Options, servers *addresses) []connect.Interceptor {
	all := []connect.Interceptor{&clientFaults{address: servers.all[0]}, &clientHeaders{o}}
	if len(servers.all) == 1 {
		return all
	}
	return append([]connect.Interceptor{&failover{servers: servers, timeout: o.Timeout, moved: o.Moved}}, all...)
}

// Address is the one in use, host:port.
func (c *Client) Address() string { return c.servers.inUse() }

// Addresses are all that the client knows, the one in use first.
func (c *Client) Addresses() []string { return c.servers.from() }

// Options are the options every generated client of this server is made with.
func (c *Client) Options() []connect.ClientOption { return c.options }

// Close ends idle connections. Calls under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// noRedirect keeps the bearer token and the agent's certificate at the address that was verified.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// times are how soon a connection is given up.
type times struct {
	dial, handshake time.Duration
	idle            time.Duration // after so long without a frame: ping
	ping            time.Duration // and after so long without its answer: closed
}

// timesFor gives up sooner where another server can take over: one that hangs is noticed by its unanswered pings, which
// lets streams be as long and as quiet as they like.
func timesFor(o Options, servers *addresses) times {
	if o.Check > 0 {
		return times{dial: o.Check, handshake: o.Check, idle: o.Check, ping: o.Check}
	}
	if len(servers.all) > 1 {
		return times{dial: 3 * time.Second, handshake: 3 * time.Second, idle: 2 * time.Second, ping: 2 * time.Second}
	}
	return times{dial: 10 * time.Second, handshake: 10 * time.Second, idle: 15 * time.Second, ping: 10 * time.Second}
}

// newTransport speaks only HTTP/2 and finds out that a peer is gone, so that a stream that only listens does not listen
// to a dead connection.
func newTransport(config *tls.Config, t times) *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: t.dial, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    t.handshake,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  t.idle,
			PingTimeout:      t.ping,
			WriteByteTimeout: 30 * time.Second,
		},
	}
}

func tlsConfig(o Options) *tls.Config {
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		RootCAs:            o.Roots,
		ServerName:         o.ServerName, // the transport fills in the host if it is empty
		NextProtos:         []string{"h2"},
		ClientSessionCache: o.Tickets,
	}
	if c.ClientSessionCache == nil {
		c.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	}
	if o.Certificate != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.Certificate() }
	}
	if o.Pin != nil {
		c.InsecureSkipVerify = true // replaced by the pin: VerifyConnection runs on every handshake
		c.VerifyConnection = verifyPin(o.Pin)
	}
	return c
}
