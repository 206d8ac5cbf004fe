// Package outward is the way to addresses that people of a tenant name: it reaches the internet and nothing else. Where a
// connection leads is judged by the address it is made to, after names were resolved and for every connection anew, so that
// neither a name nor an answer that changes leads into the networks behind the servers. Redirects are not followed, proxies
// of the environment are not used, and what is answered is not handed on: only how it went.
package outward

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Options say what may be reached.
type Options struct {
	Allow   []netip.Prefix      // networks that may be reached besides the internet, and without TLS
	Own     func() []netip.Addr // addresses of the installation, which may not be reached; nil: none
	Resolve *net.Resolver       // nil: that of the system
	Roots   *x509.CertPool      // nil: those of the system
	Timeout time.Duration       // for a request in all; 0: 15 s
}

const (
	usualTimeout = 15 * time.Second
	mostBody     = 64 << 10 // of an answer that is read, so that its connection ends well
	mostHeader   = 64 << 10
	mostURL      = 2000
)

// Client sends requests outward. It is safe for use by several goroutines.
type Client struct {
	o           Options
	plain, safe *http.Client
}

// New makes a Client.
func New(o Options) *Client {
	o.Timeout = cmp.Or(o.Timeout, usualTimeout)
	c := &Client{o: o}
	c.plain, c.safe = c.client(c.onlyAllowed), c.client(c.judge)
	return c
}

func (c *Client) client(judge func(netip.Addr) error) *http.Client {
	dialer := &net.Dialer{Timeout: c.o.Timeout, Resolver: c.o.Resolve, ControlContext: control(judge)}
	return &http.Client{
		Timeout:       c.o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // the environment's would be asked to connect, and judge by itself
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: c.o.Roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true, // every connection is judged
			MaxResponseHeaderBytes: mostHeader,
		},
	}
}

// RefusedError says that an address may not be reached. It does not tell the address, which would tell what names mean inside.
type RefusedError struct{ reason string }

// Error says why.
func (e *RefusedError) Error() string { return e.reason }

func control(judge func(netip.Addr) error) func(context.Context, string, string, syscall.RawConn) error {
	return func(_ context.Context, _, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return &RefusedError{reason: "it is no address of the internet"}
		}
		return judge(at.Addr())
	}
}

// judge refuses what is not on the internet, unless it is allowed.
func (c *Client) judge(a netip.Addr) error {
	a = a.WithZone("").Unmap()
	if c.isAllowed(a) {
		return nil
	}
	if !IsPublic(a) {
		return &RefusedError{reason: "it is at an address that is not on the internet"}
	}
	if c.o.Own == nil {
		return nil
	}
	for _, own := range c.o.Own() {
		if own.WithZone("").Unmap() == a {
			return &RefusedError{reason: "it is at an address of this installation"}
		}
	}
	return nil
}

// onlyAllowed refuses what is not expressly allowed.
func (c *Client) onlyAllowed(a netip.Addr) error {
	if c.isAllowed(a.WithZone("").Unmap()) {
		return nil
	}
	return &RefusedError{reason: "without TLS only networks are reached that an operator allowed"}
}

func (c *Client) isAllowed(a netip.Addr) bool {
	for _, p := range c.o.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// Answer is how a request went.
type Answer struct {
	Status     int
	RetryAfter time.Duration // what a receiver that is busy asked for; 0 if nothing
}

// Post sends a body to a URL. An error is a *fault.Error: KindDenied for what may not be reached, KindUnavailable for what
// could not be. Its text holds nothing of what was answered, and nothing of the URL but its host.
func (c *Client) Post(ctx context.Context, rawURL string, header http.Header, body []byte) (Answer, error) {
	u, err := ParseURL("url", rawURL)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return Answer{}, fault.Invalid("url", "it is no URL")
	}
	req.Header = http.Header{}
	maps.Copy(req.Header, header)
	client := c.safe
	if u.Scheme == "http" {
		client = c.plain
	}
	res, err := client.Do(req)
	if err != nil {
		return Answer{}, explain(u.Hostname(), err)
	}
	defer func() { _ = res.Body.Close() }()         // it was only read
	_, _ = io.CopyN(io.Discard, res.Body, mostBody) // what is answered does not count
	return Answer{Status: res.StatusCode, RetryAfter: retryAfter(res.Header.Get("Retry-After"))}, nil
}

// explain turns an error into words of our own: those of the HTTP client hold the URL, which may be a secret.
func explain(host string, err error) error {
	refused, isRefused := errors.AsType[*RefusedError](err)
	_, isDNS := errors.AsType[*net.DNSError](err)
	_, isTLS := errors.AsType[*tls.CertificateVerificationError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	timeout, isNet := errors.AsType[net.Error](err)
	cause := errors.New("post to " + host + ": " + withoutURL(err).Error())
	switch {
	case isRefused:
		return fault.Denied("%s may not be reached: %s", host, refused.reason).WithCause(cause).
			WithFix("use an address on the internet, with https, or ask an operator to allow its network in the section [outgoing]")
	case isDNS:
		return fault.Unavailable("the name %s cannot be found", host).WithCause(cause)
	case isTLS:
		return fault.Unavailable("the certificate of %s is not trusted", host).WithCause(cause)
	case isRecord:
		return fault.Unavailable("%s does not speak TLS there", host).WithCause(cause)
	case isNet && timeout.Timeout():
		return fault.Unavailable("%s did not answer in time", host).WithCause(cause)
	}
	return fault.Unavailable("no connection to %s comes about", host).WithCause(cause)
}

func withoutURL(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

const longestRetryAfter = 24 * time.Hour

func retryAfter(value string) time.Duration {
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil || !(seconds > 0) { // nor for what is no number
		return 0
	}
	return min(time.Duration(min(seconds, longestRetryAfter.Seconds())*float64(time.Second)), longestRetryAfter)
}

// ParseURL checks an address that people named: http or https, with a host, and without what would be shown or sent on by
// mistake, as a password.
func ParseURL(field, raw string) (*url.URL, error) {
	bad := func(why string) error {
		return fault.Invalid(field, "%s", why).WithFix("write it like https://hooks.example.com/gestor")
	}
	if len(raw) > mostURL || strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, bad(fmt.Sprintf("a URL has at most %d bytes, and none but printable ASCII", mostURL))
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil, u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "", u.Opaque != "":
		return nil, bad("it is no URL with https and a host")
	case u.User != nil:
		return nil, bad("a URL holds no user and password here")
	case u.Fragment != "":
		return nil, bad("a URL ends before its # here")
	case strings.Contains(u.Hostname(), "%"):
		return nil, bad("an address has no zone here")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, bad("its port is none")
		}
	}
	return u, nil
}
