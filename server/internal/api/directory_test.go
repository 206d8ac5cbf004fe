package api

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

func TestWall_NamesTheServersToThoseWhoAreSignedInOnly(t *testing.T) {
	const all = "ctl1=192.0.2.1:8443, ctl2=192.0.2.2:8443"
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Servers = func(context.Context) string { return all }
		d.Mounts = setupOnly(d)
	})
	for caller, want := range map[string]string{"viewer": all, "": ""} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+gestorv1connect.SetupServiceGetSetupProcedure, bytes.NewReader([]byte("{}")))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if caller != "" {
			req.Header.Set("Authorization", "Bearer "+w.tokens[caller])
		}
		res, err := w.client(t, "viewer").HTTP.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if got := res.Header.Get(rpc.HeaderServers); res.StatusCode != http.StatusOK || got != want {
			t.Errorf("%q: %d, got %q, want %q", caller, res.StatusCode, got, want)
		}
	}
}

// setupOnly mounts the one service whose answer needs nothing.
func setupOnly(d *Deps) []Mount {
	return append(d.Mounts[:0:0], func(o ...connect.HandlerOption) (string, http.Handler) {
		return gestorv1connect.NewSetupServiceHandler(NewSetupService(SetupDeps{Engine: d.Engine, Now: d.Now}), o...)
	})
}
