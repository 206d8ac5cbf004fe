package servertest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/servertest"
)

// things are the ids of what one tenant has, by the name that a request's field has for them.
type things map[string]string

// never are ids of the same shape that nobody has.
func (t things) never() things {
	out := things{}
	for field, id := range t {
		prefix, _, found := strings.Cut(id, "_")
		if out[field] = "never"; found {
			out[field] = prefix + "_never"
		}
	}
	return out
}

// The field "id" is of the service's own noun.
var nouns = map[string]string{
	"BuildService": "build_id", "DeploymentService": "deployment_id", "TaskService": "task_id", "ChannelService": "channel",
	"EventService": "event",
}

// walkedFields are what fields of requests name, and what they do not name although they look like it.
var walkedFields = map[string]string{
	"app": "app", "apps": "app", "app_id": "app", "node": "node", "nodes": "node", "node_id": "node", "build_id": "build_id",
	"release": "release", "releases": "release", "deployment_id": "deployment_id", "deployment": "deployment_id", "task_id": "task_id", "user": "user",
	"token": "token", "token_id": "token", "invitation": "invitation", "session_id": "session_id", "channel": "channel", "channel_id": "channel",
	"factor_id": "factor_id", "tenant": "tenant", "tenant_id": "tenant", "event_ids": "event", "delivery": "delivery", "delivery_id": "delivery",
	"provider": "provider", "provider_id": "provider", "identity": "identity", "identity_id": "identity",
}

// onlySift are methods that search the caller's own entries by such a name, and find none.
var onlySift = map[string]bool{"gestor.v1.AuditService.WatchAudit": true, "gestor.v1.AuditService.ExportAudit": true}

// fillWith fills a request: what names a thing gets that of all, what must hold something gets something.
func fillWith(m protoreflect.Message, service string, all things, depth int) (named bool) {
	if depth > 4 {
		return false
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		name := string(f.Name())
		noun := walkedFields[name]
		if name == "id" || name == "ids" {
			noun = nouns[service]
		}
		switch {
		case noun != "" && f.Kind() == protoreflect.StringKind && all[noun] != "":
			named = true
			if f.IsList() {
				m.Mutable(f).List().Append(protoreflect.ValueOfString(all[noun]))
			} else if !f.IsMap() {
				m.Set(f, protoreflect.ValueOfString(all[noun]))
			}
		case f.IsMap() || f.ContainingOneof() != nil && !f.HasOptionalKeyword():
		case f.Message() != nil && !f.IsList() && strings.HasPrefix(string(f.Message().FullName()), "gestor."):
			sub := m.NewField(f).Message()
			if fillWith(sub, service, all, depth+1) {
				named = true
				m.Set(f, protoreflect.ValueOfMessage(sub))
			}
		case f.Kind() == protoreflect.StringKind && slices.Contains([]string{"name", "reason", "comment", "repository"}, name):
			m.Set(f, protoreflect.ValueOfString("https://git.example/x.git"))
		case f.Kind() == protoreflect.EnumKind && !f.IsList():
			m.Set(f, protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len()-1).Number()))
		}
	}
	return named
}

// ask calls a method with a message and returns what it answered, without what the caller sent.
func ask(t *testing.T, c *servertest.Cluster, token string, m protoreflect.MethodDescriptor, body proto.Message, sent things) string {
	t.Helper()
	raw, err := protojson.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	kind := "application/json"
	if m.IsStreamingServer() {
		kind = "application/connect+json"
		raw = append([]byte{0, byte(len(raw) >> 24), byte(len(raw) >> 16), byte(len(raw) >> 8), byte(len(raw))}, raw...)
	}
	client := c.Client(c.Servers[0])
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, fmt.Sprintf("%s/%s/%s", client.URL, m.Parent().FullName(), m.Name()), bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Connect-Timeout-Ms", "5000") // of a stream that is let through
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := client.HTTP.Do(req)
	if err != nil {
		t.Fatalf("%s: %v", m.FullName(), err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		t.Fatalf("%s: %v", m.FullName(), err)
	}
	var failure struct{ Code, Message string }
	text := string(answer[max(0, bytes.IndexByte(answer, '{')):])
	if m.IsStreamingServer() {
		var end struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal([]byte(text), &end) == nil {
			failure = end.Error
		}
	} else if json.Unmarshal([]byte(text), &failure) != nil {
		t.Fatalf("%s: %d %s", m.FullName(), res.StatusCode, answer)
	}
	words := failure.Message
	for _, id := range sent {
		words = strings.ReplaceAll(words, id, "…")
	}
	return failure.Code + ": " + words
}

// Every method of the contract that names a thing answers a caller of another tenant as it answers for a thing that never
// was. Requests are filled from the descriptors, so a new method is walked by itself, and a new sort of name makes the
// test ask what it is.
func TestEveryMethod_TellsNobodyWhatAnotherTenantHas(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	theirs := belongings(t, c)
	token := stranger(t, c)
	unknown := map[string]bool{}
	walked, refused := 0, 0
	protoregistry.GlobalFiles.RangeFilesByPackage("gestor.v1", func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				noteUnknown(m.Input(), unknown, 0)
				foreign, nowhere := dynamicpb.NewMessage(m.Input()), dynamicpb.NewMessage(m.Input())
				if !fillWith(foreign, string(service.Name()), theirs, 0) {
					continue
				}
				fillWith(nowhere, string(service.Name()), theirs.never(), 0)
				got, want := ask(t, c, token, m, foreign, theirs), ask(t, c, token, m, nowhere, theirs.never())
				walked++
				if got != want {
					t.Errorf("%s answers %q, and for what never was %q", m.FullName(), got, want)
				}
				switch code, _, _ := strings.Cut(got, ":"); {
				case code == "not_found", code == "invalid_argument":
					refused++
				case code != "permission_denied" && code != "unauthenticated" && !onlySift[string(m.FullName())]:
					t.Errorf("%s lets somebody of another tenant through: %s", m.FullName(), got)
				}
			}
		}
		return true
	})
	t.Logf("%d methods name a thing, %d of them looked for it in the caller's scope", walked, refused)
	if walked < 80 || refused < 60 {
		t.Errorf("only %d methods were walked, only %d looked", walked, refused)
	}
	for field := range unknown {
		t.Errorf("the field %s ends like a name of a thing: say in walkedFields what it names", field)
	}
}

// noteUnknown gathers fields that look like names of things and are not known to be.
func noteUnknown(m protoreflect.MessageDescriptor, unknown map[string]bool, depth int) {
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		name := string(f.Name())
		if f.Message() != nil && !f.IsMap() && depth < 4 && strings.HasPrefix(string(f.Message().FullName()), "gestor.") {
			noteUnknown(f.Message(), unknown, depth+1)
		}
		looks := strings.HasSuffix(name, "_id") || strings.HasSuffix(name, "_ids")
		if looks && f.Kind() == protoreflect.StringKind && walkedFields[name] == "" && name != "request_id" && name != "client_id" && name != "cluster_id" {
			unknown[string(f.FullName())] = true
		}
	}
}

// belongings gives the first tenant one of everything.
func belongings(t *testing.T, c *servertest.Cluster) things {
	t.Helper()
	agent := c.FakeAgent("web1", nil)
	admin := c.Client(c.Servers[0])
	out := things{"node": agent.ID, "factor_id": "fac_theirs", "delivery": "dlv_theirs", "provider": "prv_theirs", "identity": "idn_theirs"}
	app, err := admin.Apps().CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "theirs", Settings: &gestorv1.AppSettings{
		Repository: "https://git.example/x.git", Nodes: []string{"web1"},
	}})
	mustDo(t, err)
	out["app"] = app.GetApp().GetId()
	deployments := gestorv1connect.NewDeploymentServiceClient(admin.HTTP, admin.URL, admin.Options()...)
	d, err := deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: "theirs"})
	mustDo(t, err)
	out["deployment_id"], out["build_id"] = d.GetDeployment().GetId(), d.GetDeployment().GetBuild().GetId()
	out["task_id"], out["release"] = d.GetDeployment().GetBuild().GetTaskId(), "rel_theirs"
	session, err := admin.Sessions().GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	mustDo(t, err)
	out["session_id"], out["user"], out["tenant"] = session.GetSession().GetId(), session.GetSession().GetUserId(), session.GetSession().GetTenantId()
	tokens := gestorv1connect.NewTokenServiceClient(admin.HTTP, admin.URL, admin.Options()...)
	token, err := tokens.CreateServiceToken(t.Context(), &gestorv1.CreateServiceTokenRequest{
		Settings: &gestorv1.TokenSettings{Name: "ci"}, Role: gestorv1.Role_ROLE_VIEWER,
	})
	mustDo(t, err)
	out["token"] = token.GetToken().GetId()
	invitation, err := admin.Invitations().CreateInvitation(t.Context(), &gestorv1.CreateInvitationRequest{Email: "bia@example.com", Role: gestorv1.Role_ROLE_VIEWER})
	mustDo(t, err)
	out["invitation"] = invitation.GetInvitation().GetId()
	out["channel"], out["event"] = "chn_theirs", "evt_theirs"
	for field, id := range out {
		if id == "" {
			t.Fatalf("the first tenant has no %s", field)
		}
	}
	return out
}

// stranger is an administrator of another tenant; the token of their session.
func stranger(t *testing.T, c *servertest.Cluster) string {
	t.Helper()
	operator := c.Client(c.Servers[0])
	tenants := gestorv1connect.NewTenantServiceClient(operator.HTTP, operator.URL, operator.Options()...)
	made, err := tenants.CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{Name: "Others"})
	mustDo(t, err)
	link, err := operator.Invitations().InviteAdministrator(t.Context(), &gestorv1.InviteAdministratorRequest{
		TenantId: made.GetTenant().GetId(), Email: "eve@other.example", ShowLink: true,
	})
	mustDo(t, err)
	_, secret, _ := strings.Cut(link.GetLink().GetLink(), "#")
	_, err = anybody(c, c.Servers[0]).Invitations().AcceptInvitation(t.Context(), &gestorv1.AcceptInvitationRequest{Secret: secret, Password: biasPassword})
	mustDo(t, err)
	token, err := signIn(t, c, c.Servers[0], "eve@other.example", biasPassword)
	mustDo(t, err)
	return token
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
