package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

const renewProcedure = agentv1connect.EnrollmentServiceRenewProcedure

// specs is what Connect knows of every method of the contract.
func specs() map[string]connect.Spec {
	out := map[string]connect.Spec{}
	for _, f := range Contract() {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				spec := specOf(s.Methods().Get(j))
				out[spec.Procedure] = spec
			}
		}
	}
	return out
}

func specOf(m protoreflect.MethodDescriptor) connect.Spec {
	spec := connect.Spec{Procedure: "/" + string(m.Parent().FullName()) + "/" + string(m.Name())}
	switch {
	case m.IsStreamingClient() && m.IsStreamingServer():
		spec.StreamType = connect.StreamTypeBidi
	case m.IsStreamingClient():
		spec.StreamType = connect.StreamTypeClient
	case m.IsStreamingServer():
		spec.StreamType = connect.StreamTypeServer
	}
	if o, ok := m.Options().(*descriptorpb.MethodOptions); ok && o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
		spec.IdempotencyLevel = connect.IdempotencyNoSideEffects
	}
	return spec
}

func TestWall_AdmitsExactlyWhatIsDeclared(t *testing.T) {
	w := newWall(t, true, time.Now())
	callers := slices.Collect(maps.Keys(w.tokens))
	callers = append(callers, "nobody", "agent", "deleted", "lapsed")
	refusals := []string{"unauthenticated", "permission_denied", "failed_precondition", "internal", "unknown", "unavailable"}
	if len(w.policy) < 30 || len(callers) < 27 {
		t.Fatalf("only %d methods have a policy, only %d callers come", len(w.policy), len(callers))
	}
	all := specs()
	for procedure, access := range w.policy {
		for _, caller := range callers {
			got := w.call(t, caller, procedure, all[procedure].StreamType != connect.StreamTypeUnary)
			if !slices.Contains(refusals, got) {
				got = ""
			}
			if want := verdict(caller, all[procedure], access); got != want {
				t.Errorf("%s as %s: got %q, want %q", procedure, caller, got, want)
			}
		}
	}
}

// What changes something is audited: a method that does and names no action would leave no trace.
func TestContract_AuditsWhatChangesSomething(t *testing.T) {
	policy, err := NewPolicy(Contract()...)
	if err != nil {
		t.Fatal(err)
	}
	silent := map[string]string{
		gestorv1connect.ServerServiceCheckServersProcedure: "it asks all servers for a hash at one place in the log, and changes nothing",
	}
	for procedure, spec := range specs() {
		access := policy[procedure]
		if access.GetPermission() == gestorv1.Permission_PERMISSION_AGENT || strings.HasPrefix(procedure, "/gestor.agent.v1.") {
			continue
		}
		if _, ok := silent[procedure]; !ok && !isRead(spec) && access.GetAudit() == "" {
			t.Errorf("%s changes something and names no audit action", procedure)
		}
	}
}

func TestWall_LetsOnlySetupAndEnrolmentThroughUntilClaimed(t *testing.T) {
	w := newWall(t, false, time.Now())
	all := specs()
	open := []string{"/gestor.v1.SetupService/GetSetup", "/gestor.v1.SetupService/Claim", "/gestor.agent.v1.EnrollmentService/Enroll", "/gestor.agent.v1.EnrollmentService/Renew"}
	for procedure := range w.policy {
		for _, caller := range []string{"nobody", "admin", "agent"} {
			got := w.call(t, caller, procedure, all[procedure].StreamType != connect.StreamTypeUnary)
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
