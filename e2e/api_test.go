package e2e_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
)

func TestAPI_SpeaksConnectGRPCAndGRPCWeb(t *testing.T) {
	w := start(t, 1)
	client := anyServer(t)
	for name, options := range map[string][]connect.ClientOption{
		"connect": nil, "connect with JSON": {connect.WithProtoJSON()},
		"gRPC": {connect.WithGRPC()}, "gRPC-Web": {connect.WithGRPCWeb()},
	} {
		answer, err := gestorv1connect.NewSetupServiceClient(client, w.URL, options...).GetSetup(t.Context(), &gestorv1.GetSetupRequest{})
		if err != nil || !answer.GetClaimed() {
			t.Errorf("%s: the answer is %v, %v, want claimed", name, answer, err)
		}
	}
}

func TestAPI_RefusesUnknownFieldsAndAnonymousCallers(t *testing.T) {
	w := start(t, 1)
	client := anyServer(t)
	for path, want := range map[string]struct {
		body, says string
		code       int
	}{
		"/gestor.v1.SetupService/GetSetup":  {`{"surprise": 1}`, "surprise", http.StatusBadRequest},
		"/gestor.v1.AppService/ListApps":    {`{}`, "gestor login", http.StatusUnauthorized},
		"/gestor.agent.v1.AgentService/Put": {`{}`, "", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.URL+path, strings.NewReader(want.body))
		must(t, err)
		req.Header.Set("Content-Type", "application/json")
		resp, err := client.Do(req)
		must(t, err)
		body, err := io.ReadAll(resp.Body)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != want.code || !strings.Contains(string(body), want.says) {
			t.Errorf("%s answers %d %s, want %d with %q", path, resp.StatusCode, body, want.code, want.says)
		}
	}
}

// anyServer is an HTTP/2 client that trusts the test's own server, whoever signed it.
func anyServer(t *testing.T) *http.Client {
	t.Helper()
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // loopback, in a test
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}
