package rpc

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// attempt is one try of a call at one address.
type attempt struct {
	address string
	sent    atomic.Bool // a connection was there, so that the server may have the request
}

type attemptKey struct{}

// in returns ctx with the attempt in it, where router and clientFaults find it.
func (a *attempt) in(ctx context.Context) context.Context {
	ctx = context.WithValue(ctx, attemptKey{}, a)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { a.sent.Store(true) }})
}

func attemptOf(ctx context.Context) (*attempt, bool) {
	a, ok := ctx.Value(attemptKey{}).(*attempt)
	return a, ok
}

// router sends a request to the address of its attempt.
type router struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (r router) RoundTrip(req *http.Request) (*http.Response, error) {
	a, ok := attemptOf(req.Context())
	if !ok || a.address == req.URL.Host {
		return r.next.RoundTrip(req)
	}
	routed := *req // a round tripper must not change the request it is given
	url := *req.URL
	url.Host, routed.URL, routed.Host = a.address, &url, a.address
	return r.next.RoundTrip(&routed)
}
