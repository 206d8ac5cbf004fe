package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// commands measures durable writes through the API: each is authorised, sealed, replicated to disk and applied before
// it is answered. The clients share the machine with the server.
func (b *bench) commands(ctx context.Context) error {
	repo, err := b.site(ctx, "writes")
	if err != nil {
		return err
	}
	const most = 64
	for i := range most { // each caller writes to an app of its own
		slug := fmt.Sprintf("writes-%d", i)
		if err := b.createApp(ctx, slug, repo.Dir, 1, 0, "--domain", slug+".example"); err != nil {
			return err
		}
	}
	client, err := b.client(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	apps := gestorv1connect.NewAppServiceClient(client.HTTP, client.URL, client.Options()...)
	for _, callers := range []int{1, 16, most} {
		if err := writes(ctx, apps, callers); err != nil {
			return err
		}
	}
	return nil
}

func writes(ctx context.Context, apps gestorv1connect.AppServiceClient, callers int) error {
	const window = 3 * time.Second
	took, err := load(callers, window, func(caller int) error {
		_, err := apps.UpdateEnv(ctx, &gestorv1.UpdateEnvRequest{
			App: fmt.Sprintf("writes-%d", caller), Set: map[string]string{"KEY": time.Now().String()},
		})
		return err
	})
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %7.0f/s   p50 %s, p99 %s\n", fmt.Sprintf("durable writes through the API, %d callers", callers),
		float64(len(took))/window.Seconds(), ms(took.median()), ms(took.percentile(99)))
	return nil
}

// client is a signed-in client of the stack's server.
func (b *bench) client(ctx context.Context) (*rpc.Client, error) {
	roots, err := serverRoots(ctx, b.stack.URL)
	if err != nil {
		return nil, err
	}
	var token string
	client := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(b.stack.URL, "https://"), Roots: roots, Version: "bench",
		Token: func() string { return token },
	})
	password, err := os.ReadFile(filepath.Join(b.stack.Dir, "admin-password"))
	if err != nil {
		return nil, err
	}
	session, err := gestorv1connect.NewSessionServiceClient(client.HTTP, client.URL, client.Options()...).
		CreateSession(ctx, &gestorv1.CreateSessionRequest{Email: "admin@example.com", Password: string(password)})
	if err != nil {
		return nil, err
	}
	token = session.GetToken()
	return client, nil
}

// serverRoots asks the server itself: it is ours, on this machine.
func serverRoots(ctx context.Context, url string) (*x509.CertPool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/ca.pem", http.NoBody)
	if err != nil {
		return nil, err
	}
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // asks for the root itself
	defer trusting.CloseIdleConnections()
	resp, err := trusting.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(body)
	if block == nil {
		return nil, fmt.Errorf("%s/ca.pem is not PEM", url)
	}
	return rpc.Roots(block.Bytes)
}
