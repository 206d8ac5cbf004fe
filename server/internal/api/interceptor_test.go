package api

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func streams() map[string]bool {
	out := map[string]bool{}
	for _, f := range Contract() {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				out["/"+string(s.FullName())+"/"+string(m.Name())] = m.IsStreamingClient() || m.IsStreamingServer()
			}
		}
	}
	return out
}

// verdict is what the wall must say to a caller before any handler is asked; "" lets the call through.
func verdict(caller, procedure string, p gestorv1.Permission) string {
	if p == gestorv1.Permission_PERMISSION_PUBLIC {
		return ""
	}
	agentMethod := p == gestorv1.Permission_PERMISSION_AGENT
	switch caller {
	case "nobody", "forged", "nonsense", "expired", "blocked", "deleted":
		return "unauthenticated"
	case "suspended":
		return "permission_denied"
	case "agent":
		if agentMethod {
			return ""
		}
		return "permission_denied"
	case "lapsed":
		if procedure == agentv1connect.EnrollmentServiceRenewProcedure {
			return ""
		}
		return "unauthenticated"
	}
	if !agentMethod && auth.Holds(gestor.Role(caller), p) {
		return ""
	}
	return "permission_denied"
}

func TestWall_AdmitsExactlyWhatIsDeclared(t *testing.T) {
	w := newWall(t, true, time.Now())
	isStream := streams()
	callers := []string{
		"nobody", "forged", "nonsense", "expired", "blocked", "suspended", "roleless", "agent", "deleted", "lapsed",
		"admin", "devops", "developer", "viewer",
	}
	refusals := []string{"unauthenticated", "permission_denied", "failed_precondition", "internal", "unknown", "unavailable"}
	if len(w.policy) < 30 {
		t.Fatalf("only %d methods have a policy", len(w.policy))
	}
	for procedure, access := range w.policy {
		for _, caller := range callers {
			got := w.call(t, caller, procedure, isStream[procedure])
			if !slices.Contains(refusals, got) {
				got = ""
			}
			if want := verdict(caller, procedure, access.GetPermission()); got != want {
				t.Errorf("%s as %s: got %q, want %q", procedure, caller, got, want)
			}
		}
	}
}

func TestWall_LetsOnlySetupAndEnrolmentThroughUntilClaimed(t *testing.T) {
	w := newWall(t, false, time.Now())
	isStream := streams()
	open := []string{"/gestor.v1.SetupService/GetSetup", "/gestor.v1.SetupService/Claim", "/gestor.agent.v1.EnrollmentService/Enroll", "/gestor.agent.v1.EnrollmentService/Renew"}
	for procedure := range w.policy {
		for _, caller := range []string{"nobody", "admin", "agent"} {
			got := w.call(t, caller, procedure, isStream[procedure])
			if slices.Contains(open, procedure) == (got == "failed_precondition") {
				t.Errorf("%s as %s: got %q", procedure, caller, got)
			}
		}
	}
}

func TestWall_RefusesAJSONFieldThatDoesNotExist(t *testing.T) {
	w := newWall(t, true, time.Now())
	status, answer := w.post(t, "admin", gestorv1connect.AppServiceListAppsProcedure, "application/json", []byte(`{"pgae":{}}`))
	if status != http.StatusBadRequest || !strings.Contains(string(answer), "pgae") {
		t.Fatalf("got %d %s", status, answer)
	}
}

func TestWall_NamesTheFieldThatBreaksARule(t *testing.T) {
	w := newWall(t, true, time.Now())
	c := w.client(t, "developer")
	apps := gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...)
	_, err := apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{
		Slug: "shop", Settings: &gestorv1.AppSettings{Repository: "https://example.com/x.git", Port: -1},
	})
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Kind != fault.KindInvalid || f.Field != "settings.port" || f.Message == "" {
		t.Fatalf("got %#v", err)
	}
}

func TestWall_RefusesBrowsersOfOtherOriginsAndHardensAnswers(t *testing.T) {
	w := newWall(t, true, time.Now())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+gestorv1connect.SessionServiceCreateSessionProcedure, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Sec-Fetch-Site", "same-site")
	res, err := w.client(t, "nobody").HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusForbidden || res.Header.Get("X-Content-Type-Options") != "nosniff" || res.Header.Get(rpc.HeaderReference) == "" {
		t.Fatalf("got %d, %v", res.StatusCode, res.Header)
	}
}
