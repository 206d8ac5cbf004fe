package web

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// api is the clients of the services that pages use. Calls go straight to the handler, in the name of the page's reader.
type api struct {
	setup       gestorv1connect.SetupServiceClient
	sessions    gestorv1connect.SessionServiceClient
	logins      gestorv1connect.LoginServiceClient
	invitations gestorv1connect.InvitationServiceClient
	accounts    gestorv1connect.AccountServiceClient
	factors     gestorv1connect.FactorServiceClient
}

// inside is an address that is never dialled.
const inside = "https://inside"

func newAPI(handler http.Handler) api {
	c := &http.Client{Transport: straight{handler}}
	faults := connect.WithInterceptors(rpc.ClientFaults("this server"))
	return api{
		setup:       gestorv1connect.NewSetupServiceClient(c, inside, faults),
		sessions:    gestorv1connect.NewSessionServiceClient(c, inside, faults),
		logins:      gestorv1connect.NewLoginServiceClient(c, inside, faults),
		invitations: gestorv1connect.NewInvitationServiceClient(c, inside, faults),
		accounts:    gestorv1connect.NewAccountServiceClient(c, inside, faults),
		factors:     gestorv1connect.NewFactorServiceClient(c, inside, faults),
	}
}

type readerKey struct{}

// in is the context of a page's calls: they come from where the reader comes from, with the reader's session.
func in(ctx context.Context, r *http.Request) context.Context {
	return context.WithValue(ctx, readerKey{}, r)
}

// straight hands calls to a handler of this process.
type straight struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (s straight) RoundTrip(req *http.Request) (*http.Response, error) {
	reader, ok := req.Context().Value(readerKey{}).(*http.Request)
	if !ok {
		return nil, errors.New("a call of nobody's page")
	}
	call := req.Clone(req.Context())
	call.RemoteAddr, call.RequestURI = reader.RemoteAddr, req.URL.RequestURI()
	call.Header.Set("User-Agent", reader.UserAgent())
	if token, ok := auth.CookieOf(reader.Header); ok {
		call.Header.Set("Authorization", "Bearer "+token)
	}
	if call.Body == nil {
		call.Body = http.NoBody
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	s.handler.ServeHTTP(a, call)
	return &http.Response{
		StatusCode: a.status, Status: http.StatusText(a.status), Header: a.header, Request: req,
		Proto: "HTTP/2.0", ProtoMajor: 2, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()),
	}, nil
}

// answer keeps what a handler answers.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// isReason reports whether err was refused for a reason that a page can do something about.
func isReason(err error, reason fault.Reason) bool { return fault.ReasonOf(err) == reason }
