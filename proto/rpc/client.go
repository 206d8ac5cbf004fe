package rpc

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
)

// Options say whom to call and as whom. Address is mandatory, and one of Roots and Pin unless the server's certificate is
// from a public authority.
type Options struct {
	Address     string                           // host:port of the server
	ServerName  string                           // the name its certificate must have; the host of Address if empty
	Roots       *x509.CertPool                   // who may have signed it; the system's roots if nil
	Pin         []byte                           // SHA-256 of the root's public key (SPKI); takes the place of Roots and ServerName
	Certificate func() (*tls.Certificate, error) // this side's certificate, asked for at each handshake; nil for none
	Token       func() string                    // bearer token, asked for at each call; nil or "" for none
	Version     string                           // this program's version
	Timeout     time.Duration                    // of unary calls without a deadline of their own; 30 s if 0
	Revision    *Revision                        // shared memory of the highest revision seen; a new one if nil
}

// Client is how to reach one server. Hand HTTP, URL and Options() to a generated constructor:
//
//	apps := gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...)
//
// It is safe for concurrent use.
type Client struct {
	HTTP     *http.Client
	URL      string // https://host:port
	Revision *Revision

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
	transport := newTransport(tlsConfig(o))
	return &Client{
		HTTP:      &http.Client{Transport: transport, CheckRedirect: noRedirect},
		URL:       "https://" + o.Address,
		Revision:  o.Revision,
		transport: transport,
		options: []connect.ClientOption{
			connect.WithReadMaxBytes(MaxUnaryBytes),
			connect.WithSendMaxBytes(MaxUnaryBytes),
			connect.WithInterceptors(&clientFaults{address: o.Address}, &clientHeaders{o}),
		},
	}
}

// Options are the options every generated client of this server is made with.
func (c *Client) Options() []connect.ClientOption { return c.options }

// Close ends idle connections. Calls under way go on.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// noRedirect keeps the bearer token and the agent's certificate at the address that was verified.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newTransport speaks only HTTP/2 and finds out within half a minute that a peer is gone, so that a stream that only
// listens does not listen to a dead connection.
func newTransport(config *tls.Config) *http.Transport {
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		Protocols:              protocols,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:  15 * time.Second, // after so long without a frame: ping
			PingTimeout:      10 * time.Second, // and after so long without its answer: closed
			WriteByteTimeout: 30 * time.Second,
		},
	}
}

func tlsConfig(o Options) *tls.Config {
	name := o.ServerName
	if name == "" {
		name = hostOf(o.Address)
	}
	c := &tls.Config{
		MinVersion:         tls.VersionTLS13,
		RootCAs:            o.Roots,
		ServerName:         name,
		NextProtos:         []string{"h2"},
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
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

func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
