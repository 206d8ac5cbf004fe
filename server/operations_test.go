package server_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server"
)

// freeAddress is a loopback address that was free a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("there never was %s", what)
		case <-tick.C:
		}
	}
}

func TestServer_ShowsHealthAndMetricsOnThePrivateAddressAndWritesLogFiles(t *testing.T) {
	dir, logs, private := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "logs"), freeAddress(t)
	c := server.Config{
		DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "info", LogFormat: "json", LogDir: logs, MetricsListen: private,
	}
	var stderr bytes.Buffer
	log, files, err := server.OpenLogs(c, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	s, err := server.New(t.Context(), server.Options{Config: c, Version: "1.2.3", Log: log, Files: files})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	until(t, "readiness", func() bool { code, _ := fetch(t, "http://"+private+"/readyz"); return code == http.StatusOK })

	client := rpc.New(rpc.Options{Address: s.Addr().String(), Pin: mustHex(t, read(t, dir, "server-root.pin"))})
	setup := gestorv1connect.NewSetupServiceClient(client.HTTP, client.URL, client.Options()...)
	claim := &gestorv1.ClaimRequest{Secret: read(t, dir, "setup-secret"), TenantName: "Acme", Email: "ana@example.com", Password: "correct horse"}
	if _, err := setup.Claim(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	_, text := fetch(t, "http://"+private+"/metrics")
	for _, want := range []string{
		"gestor_raft_leader 1", `gestor_requests_seconds_count{code="ok",procedure="/gestor.v1.SetupService/Claim"} 1`,
		`gestor_propose_seconds_count{outcome="applied"}`, "gestor_batch_commands_count", "gestor_disk_free_bytes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if code, _ := fetch(t, "http://"+private+"/debug/pprof/"); code != http.StatusNotFound {
		t.Errorf("profiles without a sign-in: %d", code)
	}
	until(t, "an audit file", func() bool {
		found, _ := filepath.Glob(filepath.Join(logs, "audit", "*.jsonl"))
		return len(found) == 1
	})
	cancel()
	client.Close()
	if err := errors.Join(<-done, s.Close(), files.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(logs, "access.log"))
	if err != nil {
		t.Fatal(err)
	}
	var entry map[string]any
	for line := range bytes.Lines(raw) {
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	if entry["procedure"] != gestorv1connect.SetupServiceClaimProcedure || entry["code"] != "ok" || entry["address"] != "127.0.0.1" {
		t.Errorf("access.log: %s", raw)
	}
	if strings.Contains(string(raw)+stderr.String(), "correct horse") {
		t.Error("a log holds a password")
	}
	if app := read(t, logs, "app.log"); !strings.Contains(app, "server started") || !strings.Contains(stderr.String(), "server started") {
		t.Errorf("app.log: %s", app)
	}
}

func mustHex(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
