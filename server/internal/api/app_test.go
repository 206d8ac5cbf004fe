package api_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestCreateApp_MakesAnAppWithItsDeployKey(t *testing.T) {
	n := newNouns(t)
	s := settings()
	s.Domains, s.HealthTimeout = []string{"Café.Example"}, durationpb.New(90*time.Second)
	res, err := n.one.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "shop", Settings: s})
	if err != nil {
		t.Fatal(err)
	}
	app := res.GetApp()
	if !strings.HasPrefix(app.GetId(), "app_") || app.GetSlug() != "shop" || app.GetStatus() != gestorv1.AppStatus_APP_STATUS_INACTIVE || len(app.GetAddresses()) != 0 {
		t.Errorf("got %v", app)
	}
	if got := app.GetSettings(); got.GetNodes()[0] != "web-1" || got.GetDomains()[0] != "xn--caf-dma.example" || got.GetHealthTimeout().AsDuration() != 90*time.Second {
		t.Errorf("got settings %v", got)
	}
	if _, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(app.GetDeployKey())); err != nil || comment != "gestor-shop" {
		t.Errorf("the deploy key %q is no authorized_keys line: %v", app.GetDeployKey(), err)
	}
}

func TestCreateApp_SealsAPrivateKeyThatBelongsToThePublicOne(t *testing.T) {
	n := newNouns(t)
	app := n.one.addApp(t, "shop")
	stored, err := n.View(gestor.TenantScope(n.one.tenant)).App(t.Context(), gestor.AppID(app.GetId()))
	if err != nil {
		t.Fatal(err)
	}
	pem, err := n.ring.Open(stored.DeployKeySealed, app.GetId()+"/deploy_key")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	if public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))); !strings.HasPrefix(app.GetDeployKey(), public) {
		t.Errorf("the halves differ: %s and %s", public, app.GetDeployKey())
	}
	if n.inFiles(t, "OPENSSH PRIVATE KEY") {
		t.Error("the private key is in the state in clear")
	}
}

func TestCreateApp_WithTheSameRequestIDIsTheSameApp(t *testing.T) {
	n := newNouns(t)
	req := &gestorv1.CreateAppRequest{Slug: "shop", Settings: settings(), RequestId: "once"}
	first, err := n.one.apps.CreateApp(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	again, err := n.one.apps.CreateApp(t.Context(), req)
	if err != nil || again.GetApp().GetId() != first.GetApp().GetId() || again.GetApp().GetDeployKey() != first.GetApp().GetDeployKey() {
		t.Errorf("got %v, %v, want %s", again, err, first.GetApp().GetId())
	}
	req.RequestId = "twice"
	_, err = n.one.apps.CreateApp(t.Context(), req)
	wantKind(t, err, fault.KindExists)
}

// Every value that a shell, nginx, systemd or git would read otherwise is refused, with the name of its field.
func TestCreateApp_RefusesHostileValuesByField(t *testing.T) {
	n := newNouns(t)
	for field, change := range map[string]func(*gestorv1.CreateAppRequest){
		"slug":                      func(r *gestorv1.CreateAppRequest) { r.Slug = "shop;id" },
		"settings.repository":       func(r *gestorv1.CreateAppRequest) { r.Settings.Repository = "ext::sh -c id" },
		"settings.branch":           func(r *gestorv1.CreateAppRequest) { r.Settings.Branch = "--upload-pack=id" },
		"settings.domains[1]":       func(r *gestorv1.CreateAppRequest) { r.Settings.Domains = []string{"a.example", "b;return 200"} },
		"settings.root":             func(r *gestorv1.CreateAppRequest) { r.Settings.Root = "../../etc" },
		"settings.output":           func(r *gestorv1.CreateAppRequest) { r.Settings.Output = "a;}" },
		"settings.shared[0]":        func(r *gestorv1.CreateAppRequest) { r.Settings.Shared = []string{"/etc"} },
		"settings.health_path":      func(r *gestorv1.CreateAppRequest) { r.Settings.HealthPath = "/a\r\nHost: x" },
		"settings.build_command":    func(r *gestorv1.CreateAppRequest) { r.Settings.BuildCommand = "a\nExecStart=id" },
		"settings.start_command":    func(r *gestorv1.CreateAppRequest) { r.Settings.StartCommand = "a\x00b" },
		"settings.known_hosts":      func(r *gestorv1.CreateAppRequest) { r.Settings.KnownHosts = "nonsense" },
		"settings.nodes[1]":         func(r *gestorv1.CreateAppRequest) { r.Settings.Nodes = []string{"web-1", "web-2"} },
		"settings.health_timeout":   func(r *gestorv1.CreateAppRequest) { r.Settings.HealthTimeout = durationpb.New(time.Hour) },
		"settings.drain":            func(r *gestorv1.CreateAppRequest) { r.Settings.Drain = durationpb.New(-time.Second) },
		"settings.limits.processes": func(r *gestorv1.CreateAppRequest) { r.Settings.Limits = &gestorv1.Limits{Processes: -1} },
	} {
		t.Run(field, func(t *testing.T) {
			req := &gestorv1.CreateAppRequest{Slug: "shop", Settings: settings()}
			change(req)
			_, err := n.one.apps.CreateApp(t.Context(), req)
			var f *fault.Error
			if !errors.As(err, &f) || f.Kind != fault.KindInvalid || f.Field != field {
				t.Errorf("got %v, want field %s refused", err, field)
			}
		})
	}
}

func TestCreateApp_RefusesANodeNamedTwice(t *testing.T) {
	n := newNouns(t)
	s := settings()
	s.Nodes = []string{"web-1", "nod_one"}
	_, err := n.one.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "shop", Settings: s})
	wantKind(t, err, fault.KindInvalid)
}

func TestUpdateApp_RefusesSettingsThatWereReadBeforeAChange(t *testing.T) {
	n := newNouns(t)
	app := n.one.addApp(t, "shop")
	req := &gestorv1.UpdateAppRequest{App: "shop", Settings: settings(), ExpectedRevision: app.GetRevision()}
	req.Settings.Branch = "release"
	res, err := n.one.apps.UpdateApp(t.Context(), req)
	if err != nil || res.GetApp().GetSettings().GetBranch() != "release" || res.GetApp().GetRevision() <= app.GetRevision() {
		t.Fatalf("got %v, %v", res, err)
	}
	_, err = n.one.apps.UpdateApp(t.Context(), req)
	wantKind(t, err, fault.KindConflict)
}

func TestGetApp_TakesIDAndSlug(t *testing.T) {
	n := newNouns(t)
	app := n.one.addApp(t, "shop")
	for _, ref := range []string{"shop", app.GetId()} {
		if res, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: ref}); err != nil || res.GetApp().GetId() != app.GetId() {
			t.Errorf("%s: got %v, %v", ref, res, err)
		}
	}
}

func TestGetApp_NamesItsNodesAndItsLiveRelease(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	res, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	app := res.GetApp()
	if app.GetCurrentReleaseId() != string(w.release.ID) || app.GetCurrentRelease() != w.release.Name || app.GetSettings().GetNodes()[0] != "web-1" {
		t.Errorf("got %v", app)
	}
}

func TestListApps_PagesBySlug(t *testing.T) {
	n := newNouns(t)
	for i := range 5 {
		n.one.addApp(t, fmt.Sprintf("app-%d", i))
	}
	n.other.addApp(t, "app-z")
	var got []string
	page := &gestorv1.PageRequest{Size: 2}
	for {
		res, err := n.one.apps.ListApps(t.Context(), &gestorv1.ListAppsRequest{Page: page})
		if err != nil || len(res.GetApps()) > 2 {
			t.Fatalf("got %v, %v", res, err)
		}
		for _, a := range res.GetApps() {
			got = append(got, a.GetSlug())
		}
		if page.Token = res.GetPage().GetNextToken(); page.Token == "" {
			break
		}
	}
	if want := "app-0 app-1 app-2 app-3 app-4"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	_, err := n.one.apps.ListApps(t.Context(), &gestorv1.ListAppsRequest{Page: &gestorv1.PageRequest{Token: "nonsense"}})
	wantKind(t, err, fault.KindInvalid)
}

func TestUpdateEnv_ShowsNamesAndNeverValues(t *testing.T) {
	n := newNouns(t)
	app := n.one.addApp(t, "shop")
	const value = "hunter22-and-more"
	res, err := n.one.apps.UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: map[string]string{"TOKEN": value, "A": "line 1\nline 2"}})
	if err != nil {
		t.Fatal(err)
	}
	listed, err := n.one.apps.ListEnv(t.Context(), &gestorv1.ListEnvRequest{App: "shop"})
	if err != nil || len(listed.GetVars()) != 2 || listed.GetVars()[0].GetName() != "A" || listed.GetVars()[1].GetName() != "TOKEN" {
		t.Fatalf("got %v, %v", listed, err)
	}
	shown, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "shop"})
	if err != nil || strings.Contains(res.String()+listed.String()+shown.String(), value) {
		t.Errorf("the value is in an answer: %v", err)
	}
	if n.inFiles(t, value) {
		t.Error("the value is in the state in clear")
	}
	vars, err := n.View(gestor.TenantScope(n.one.tenant)).Env(t.Context(), gestor.AppID(app.GetId()))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := n.ring.Open(vars[1].Sealed, app.GetId()+"/env/TOKEN"); err != nil || string(plain) != value {
		t.Errorf("the sealed value opens to %q, %v", plain, err)
	}
}

func TestUpdateEnv_RemovesAndRefuses(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	if _, err := n.one.apps.UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: map[string]string{"A": "1", "B": "2"}}); err != nil {
		t.Fatal(err)
	}
	res, err := n.one.apps.UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: map[string]string{"C": "3"}, Unset: []string{"A"}})
	if err != nil || len(res.GetVars()) != 2 || res.GetVars()[0].GetName() != "B" {
		t.Errorf("got %v, %v", res, err)
	}
	for _, name := range []string{"PATH", "PORT", "LD_PRELOAD", "GESTOR_X", "1A", "A-B", "A\nB"} {
		_, err := n.one.apps.UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: "shop", Set: map[string]string{name: "hunter22"}})
		wantKind(t, err, fault.KindInvalid)
		if err != nil && strings.Contains(err.Error(), "hunter22") {
			t.Errorf("the value is in the error: %v", err)
		}
	}
}

func TestDetectApp_StartsATaskForAnyNode(t *testing.T) {
	n := newNouns(t)
	res, err := n.one.apps.DetectApp(t.Context(), &gestorv1.DetectAppRequest{Repository: " https://git.example/shop.git ", Ref: "main"})
	if err != nil {
		t.Fatal(err)
	}
	task, err := n.one.tasks.GetTask(t.Context(), &gestorv1.GetTaskRequest{Id: res.GetTaskId()})
	if err != nil || task.GetTask().GetKind() != "detect" || task.GetTask().GetState() != gestorv1.TaskState_TASK_STATE_QUEUED {
		t.Errorf("got %v, %v", task, err)
	}
	_, err = n.one.apps.DetectApp(t.Context(), &gestorv1.DetectAppRequest{Repository: "file:///etc"})
	var f *fault.Error
	if !errors.As(err, &f) || f.Field != "repository" {
		t.Errorf("got %v, want repository refused", err)
	}
}

func TestDeleteApp_StartsItsRemovalFromItsNodes(t *testing.T) {
	n := newNouns(t)
	n.one.addApp(t, "shop")
	res, err := n.one.apps.DeleteApp(t.Context(), &gestorv1.DeleteAppRequest{App: "shop", Purge: true})
	if err != nil || len(res.GetTaskIds()) != 1 {
		t.Fatalf("got %v, %v", res, err)
	}
	app, err := n.one.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: "shop"})
	if err != nil || app.GetApp().GetStatus() != gestorv1.AppStatus_APP_STATUS_DELETING {
		t.Errorf("got %v, %v", app, err)
	}
}
