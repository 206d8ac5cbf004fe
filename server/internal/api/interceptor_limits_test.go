package api

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

func TestWall_RefusesMessagesThatAreTooLarge(t *testing.T) {
	w := newWall(t, true, time.Now())
	big := bytes.Repeat([]byte("x"), rpc.MaxUnaryBytes+1)
	status, answer := w.post(t, "admin", gestorv1connect.AppServiceListAppsProcedure, "application/proto", big)
	if status != http.StatusTooManyRequests || !strings.Contains(string(answer), "resource_exhausted") {
		t.Fatalf("got %d %.200s", status, answer)
	}
}

func TestWall_DoesNotWaitForeverForARevision(t *testing.T) {
	w := newWallWith(t, true, time.Now(), Times{Revision: 100 * time.Millisecond})
	c := w.client(t, "viewer")
	c.Revision.Saw(1 << 60)
	apps := gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // the wall's own limit is a tenth of a second
	defer cancel()
	_, err := apps.ListApps(ctx, &gestorv1.ListAppsRequest{})
	if !errors.Is(err, fault.KindUnavailable) || ctx.Err() != nil {
		t.Fatalf("got %v", err)
	}
}

func TestWall_DoesNotWaitForeverForAMessage(t *testing.T) {
	w := newWallWith(t, true, time.Now(), Times{Body: 200 * time.Millisecond})
	for _, procedure := range []string{gestorv1connect.SessionServiceCreateSessionProcedure, gestorv1connect.AppServiceListAppsProcedure} {
		body, more := io.Pipe()
		defer more.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+procedure, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+w.tokens["admin"])
		go func() { _, _ = more.Write([]byte("{")) }() // and never the rest
		res, err := w.client(t, "admin").HTTP.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", procedure, err)
		}
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Errorf("%s: half a message was answered with %d", procedure, res.StatusCode)
		}
	}
}

func TestWall_RefusesMessagesOfStreamsThatAreTooLarge(t *testing.T) {
	w := newWall(t, true, time.Now())
	big := append(binary.BigEndian.AppendUint32([]byte{0}, rpc.MaxStreamBytes+1), make([]byte, rpc.MaxStreamBytes+1)...)
	_, answer := w.post(t, "admin", gestorv1connect.TaskServiceWatchTaskProcedure, "application/connect+proto", big)
	if !strings.Contains(string(answer), "resource_exhausted") {
		t.Fatalf("got %.200q", answer)
	}
}

func TestWall_RefusesLargeMessagesOfStrangers(t *testing.T) {
	w := newWall(t, true, time.Now())
	big := bytes.Repeat([]byte("x"), 64<<10+1)
	for procedure, caller := range map[string]string{
		gestorv1connect.SetupServiceGetSetupProcedure:        "",
		gestorv1connect.SetupServiceClaimProcedure:           "",
		gestorv1connect.SessionServiceCreateSessionProcedure: "",
		agentv1connect.EnrollmentServiceEnrollProcedure:      "",
		agentv1connect.EnrollmentServiceRenewProcedure:       "agent",
	} {
		if _, answer := w.post(t, caller, procedure, "application/proto", big); !strings.Contains(string(answer), "resource_exhausted") {
			t.Errorf("%s: got %.200s", procedure, answer)
		}
	}
}
