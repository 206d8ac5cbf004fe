package api_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// colleague is a person or a token of ten_one with the clients that protection is about.
type colleague struct {
	apps        gestorv1connect.AppServiceClient
	deployments gestorv1connect.DeploymentServiceClient
	protections gestorv1connect.ProtectionServiceClient
	permissions gestorv1connect.PermissionServiceClient
}

func (n *nouns) caller(t *testing.T, bearer string) colleague {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(n.server.Certificate())
	c := rpc.New(rpc.Options{
		Address: strings.TrimPrefix(n.server.URL, "https://"), ServerName: "example.com", Roots: roots, Version: "test",
		Token: func() string { return bearer },
	})
	t.Cleanup(c.Close)
	return colleague{
		apps:        gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...),
		deployments: gestorv1connect.NewDeploymentServiceClient(c.HTTP, c.URL, c.Options()...),
		protections: gestorv1connect.NewProtectionServiceClient(c.HTTP, c.URL, c.Options()...),
		permissions: gestorv1connect.NewPermissionServiceClient(c.HTTP, c.URL, c.Options()...),
	}
}

// person signs somebody of ten_one in, who has just proven who they are.
func (n *nouns) person(t *testing.T, name string, role gestor.Role, narrow gestor.Narrowing) colleague {
	t.Helper()
	bearer, hash := auth.NewBearer()
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		id := gestor.UserID("usr_" + name)
		return errors.Join(
			x.PutUser(ctx, gestor.User{ID: id, TenantID: "ten_one", Email: name + "@example.com", Role: role, Status: gestor.StatusActive, Narrow: narrow}),
			x.PutSession(ctx, gestor.Session{
				ID: gestor.SessionID("ses_" + name), UserID: id, TenantID: "ten_one", TokenHash: hash, CreatedAt: time.Now(), FreshAt: time.Now(), SeenAt: time.Now(),
				ExpiresAt: time.Now().Add(time.Hour),
			}))
	})
	return n.caller(t, bearer)
}

// token makes a token that belongs to, or was made by, a person.
func (n *nouns) token(t *testing.T, token gestor.Token) colleague {
	t.Helper()
	bearer, hash := auth.NewToken(token.Kind)
	token.TenantID, token.Hash, token.Name, token.SeenAt = "ten_one", hash, string(token.ID), time.Now()
	n.put(t, func(ctx context.Context, x *state.Txn) error { return x.PutToken(ctx, token) })
	return n.caller(t, bearer)
}

// protect lets deployments to production wait for other people.
func (n *nouns) protect(t *testing.T, approvals int32) {
	t.Helper()
	admin := n.person(t, "chief", gestor.RoleAdmin, gestor.Narrowing{})
	_, err := admin.protections.UpdateProtection(t.Context(), &gestorv1.UpdateProtectionRequest{Protection: &gestorv1.Protection{
		Environment: gestorv1.Environment_ENVIRONMENT_PRODUCTION, RequireApproval: true, Approvals: approvals,
	}})
	if err != nil {
		t.Fatal(err)
	}
}

// ask makes a deployment of a finished build that waits for approval.
func (n *nouns) ask(t *testing.T, by colleague, w work) string {
	t.Helper()
	res, err := by.deployments.CreateDeployment(t.Context(), &gestorv1.CreateDeploymentRequest{App: w.app.GetSlug(), BuildId: string(w.build.ID)})
	if err != nil {
		t.Fatal(err)
	}
	id := gestor.DeploymentID(res.GetDeployment().GetId())
	n.do(t, command.AdvanceDeployment{ID: id, From: gestor.DeploymentBuilding, To: gestor.DeploymentPreparing})
	n.do(t, command.HoldDeployment{ID: id, Waiting: "waits for people", Approval: true})
	return string(id)
}

func TestApproveDeployment_TakesTokensForTheirPeople(t *testing.T) {
	for name, c := range map[string]struct {
		asks, approves string
		kind           fault.Kind
	}{
		"oneself":                            {"person", "person", fault.KindDenied},
		"by the own personal token":          {"person", "personal", fault.KindDenied},
		"by the own service token":           {"person", "service", fault.KindDenied},
		"having asked by a personal token":   {"personal", "person", fault.KindDenied},
		"having asked by a service token":    {"service", "person", fault.KindDenied},
		"a service token by a personal one":  {"service", "personal", fault.KindDenied},
		"another person":                     {"person", "other", ""},
		"another person, a token":            {"personal", "other", ""},
		"another person, a service token":    {"service", "other", ""},
		"a service token of somebody else's": {"other", "service", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNouns(t)
			w := n.addWork(t, n.one, "shop")
			n.protect(t, 1)
			callers := map[string]colleague{
				"person":   n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{}),
				"personal": n.token(t, gestor.Token{ID: "tkn_p", Kind: gestor.TokenPersonal, UserID: "usr_eva"}),
				"service":  n.token(t, gestor.Token{ID: "tkn_s", Kind: gestor.TokenService, UserID: "usr_eva", Role: gestor.RoleDevOps}),
				"other":    n.person(t, "bia", gestor.RoleDevOps, gestor.Narrowing{}),
			}
			id := n.ask(t, callers[c.asks], w)
			res, err := callers[c.approves].deployments.ApproveDeployment(t.Context(), &gestorv1.ApproveDeploymentRequest{Id: id, Comment: "good"})
			if c.kind != "" {
				wantKind(t, err, c.kind)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			given := res.GetDeployment().GetHold().GetApprovals()
			if len(given) != 1 || given[0].GetComment() != "good" || (given[0].GetTokenId() != "") != (c.approves == "service") {
				t.Errorf("got %v", given)
			}
		})
	}
}

func TestApproveDeployment_IsForThoseWhoMayAndSeeTheApp(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	n.protect(t, 1)
	id := n.ask(t, n.person(t, "ana", gestor.RoleDeveloper, gestor.Narrowing{}), w)
	n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{})
	staging := gestor.Narrowing{Environments: []string{gestor.EnvironmentStaging}}
	for name, c := range map[string]struct {
		who  colleague
		kind fault.Kind
	}{
		"a developer":             {n.person(t, "dev", gestor.RoleDeveloper, gestor.Narrowing{}), fault.KindDenied},
		"a viewer":                {n.person(t, "vera", gestor.RoleViewer, gestor.Narrowing{}), fault.KindDenied},
		"a devops of staging":     {n.person(t, "narrow", gestor.RoleDevOps, staging), fault.KindNotFound},
		"a token for staging":     {n.token(t, gestor.Token{ID: "tkn_n", Kind: gestor.TokenPersonal, UserID: "usr_eva", Narrow: staging}), fault.KindNotFound},
		"a token for other calls": {n.token(t, gestor.Token{ID: "tkn_r", Kind: gestor.TokenPersonal, UserID: "usr_eva", Permissions: []string{"APP_READ"}}), fault.KindDenied},
	} {
		_, err := c.who.deployments.ApproveDeployment(t.Context(), &gestorv1.ApproveDeploymentRequest{Id: id})
		if !errors.Is(err, c.kind) {
			t.Errorf("%s: got %v, want %s", name, err, c.kind)
		}
		_, err = c.who.deployments.RejectDeployment(t.Context(), &gestorv1.RejectDeploymentRequest{Id: id, Comment: "no"})
		if !errors.Is(err, c.kind) {
			t.Errorf("%s rejects: got %v, want %s", name, err, c.kind)
		}
	}
}

func TestListWaitingDeployments_ShowsEachWhatWaitsForThem(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	n.protect(t, 2)
	ana, eva := n.person(t, "ana", gestor.RoleDevOps, gestor.Narrowing{}), n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{})
	id := n.ask(t, ana, w)
	waiting := func(who colleague, mine bool) []*gestorv1.WaitingDeployment {
		t.Helper()
		res, err := who.deployments.ListWaitingDeployments(t.Context(), &gestorv1.ListWaitingDeploymentsRequest{ForMe: mine})
		if err != nil {
			t.Fatal(err)
		}
		return res.GetDeployments()
	}
	if all := waiting(ana, false); len(all) != 1 || all[0].GetApp() != "shop" || all[0].GetDeployment().GetWaiting() != "waits for people" {
		t.Errorf("got %v", all)
	}
	if mine := waiting(ana, true); len(mine) != 0 {
		t.Errorf("what ana asked for waits for ana: %v", mine)
	}
	mine := waiting(eva, true)
	if len(mine) != 1 || mine[0].GetDeployment().GetId() != id {
		t.Fatalf("got %v", mine)
	}
	hold := mine[0].GetDeployment().GetHold()
	if hold.GetNeeded() != 2 || !hold.GetYouMayApprove() || strings.Join(hold.GetRoles(), " ") != "admin devops" ||
		hold.GetExpiresAt().AsTime().Sub(hold.GetAskedAt().AsTime()) != 7*24*time.Hour {
		t.Errorf("got %v", hold)
	}
	req := &gestorv1.ApproveDeploymentRequest{Id: id, RequestId: "r1"}
	for range 2 { // again is the same
		if _, err := eva.deployments.ApproveDeployment(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if mine := waiting(eva, true); len(mine) != 0 {
		t.Errorf("what eva approved waits for eva: %v", mine)
	}
	if all := waiting(n.person(t, "chief", gestor.RoleAdmin, gestor.Narrowing{}), true); len(all) != 1 || len(all[0].GetDeployment().GetHold().GetApprovals()) != 1 {
		t.Errorf("got %v", all)
	}
	res, err := n.other.deployments.ListWaitingDeployments(t.Context(), &gestorv1.ListWaitingDeploymentsRequest{})
	if err != nil || len(res.GetDeployments()) != 0 {
		t.Errorf("another tenant sees %v, %v", res, err)
	}
}

func TestRejectDeployment_EndsItWithTheReason(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	n.protect(t, 1)
	id := n.ask(t, n.person(t, "ana", gestor.RoleDeveloper, gestor.Narrowing{}), w)
	eva := n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{})
	_, err := eva.deployments.RejectDeployment(t.Context(), &gestorv1.RejectDeploymentRequest{Id: id, Comment: "a\x1b[2Jb"})
	wantKind(t, err, fault.KindInvalid)
	res, err := eva.deployments.RejectDeployment(t.Context(), &gestorv1.RejectDeploymentRequest{Id: id, Comment: "not on a Friday"})
	if err != nil || res.GetDeployment().GetError() != "rejected by eva@example.com: not on a Friday" {
		t.Errorf("got %v, %v", res, err)
	}
}

func TestUpdateProtection_IsForAdminsWhoHaveJustProvenWhoTheyAre(t *testing.T) {
	n := newNouns(t)
	freeze := &gestorv1.Freeze{Name: "Black Friday", TimeZone: "America/Sao_Paulo", From: "2026-11-27", To: "2026-11-30 08:00"}
	req := &gestorv1.UpdateProtectionRequest{Protection: &gestorv1.Protection{
		Environment: gestorv1.Environment_ENVIRONMENT_PRODUCTION, RequireApproval: true, Freezes: []*gestorv1.Freeze{freeze},
	}}
	_, err := n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{}).protections.UpdateProtection(t.Context(), req)
	wantKind(t, err, fault.KindDenied)
	admin := n.person(t, "chief", gestor.RoleAdmin, gestor.Narrowing{})
	res, err := admin.protections.UpdateProtection(t.Context(), req)
	if err != nil || res.GetProtection().GetApprovals() != 1 || res.GetProtection().GetUpdatedBy() != "chief@example.com" {
		t.Fatalf("got %v, %v", res, err)
	}
	list, err := n.person(t, "vera", gestor.RoleViewer, gestor.Narrowing{}).protections.ListProtections(t.Context(), &gestorv1.ListProtectionsRequest{})
	if err != nil || len(list.GetProtections()) != 3 || list.GetProtections()[2].GetFreezes()[0].GetTo() != "2026-11-30 08:00" {
		t.Errorf("got %v, %v", list, err)
	}
	req.ExpectedRevision = res.GetProtection().GetRevision() + 1
	_, err = admin.protections.UpdateProtection(t.Context(), req)
	wantKind(t, err, fault.KindConflict)
	req.ExpectedRevision, freeze.TimeZone = 0, "Mars/Olympus"
	_, err = admin.protections.UpdateProtection(t.Context(), req)
	if f, ok := errors.AsType[*fault.Error](err); !ok || f.Field != "protection.freezes[0].time_zone" || f.Fix == "" {
		t.Errorf("got %v", err)
	}
	freeze.TimeZone = "UTC"
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		s, err := x.Session(ctx, "ses_chief")
		s.FreshAt = time.Now().Add(-time.Hour)
		return errors.Join(err, x.PutSession(ctx, s))
	})
	_, err = admin.protections.UpdateProtection(t.Context(), req)
	if fault.ReasonOf(err) != fault.ReasonStepUp {
		t.Errorf("got %v, want to be asked again who it is", err)
	}
	_, err = admin.deployments.OverrideFreeze(t.Context(), &gestorv1.OverrideFreezeRequest{Id: "dep_x", Reason: "x"})
	if fault.ReasonOf(err) != fault.ReasonStepUp {
		t.Errorf("got %v, want to be asked again who it is", err)
	}
}

func TestUpdateApp_LeavesAProtectedEnvironmentByAdminsAlone(t *testing.T) {
	n := newNouns(t)
	n.addWork(t, n.one, "shop")
	n.protect(t, 1)
	moved := settings()
	moved.Environment = gestorv1.Environment_ENVIRONMENT_STAGING
	req := &gestorv1.UpdateAppRequest{App: "shop", Settings: moved}
	_, err := n.person(t, "dev", gestor.RoleDeveloper, gestor.Narrowing{}).apps.UpdateApp(t.Context(), req)
	wantKind(t, err, fault.KindDenied)
	if _, err = n.person(t, "boss", gestor.RoleAdmin, gestor.Narrowing{}).apps.UpdateApp(t.Context(), req); err != nil {
		t.Error(err)
	}
}

func TestOverrideFreeze_LetsOneDeploymentThroughAndShowsWho(t *testing.T) {
	n := newNouns(t)
	w := n.addWork(t, n.one, "shop")
	admin := n.person(t, "chief", gestor.RoleAdmin, gestor.Narrowing{})
	today := time.Now().UTC()
	_, err := admin.protections.UpdateProtection(t.Context(), &gestorv1.UpdateProtectionRequest{Protection: &gestorv1.Protection{
		Environment: gestorv1.Environment_ENVIRONMENT_PRODUCTION,
		Freezes: []*gestorv1.Freeze{{
			Name: "Fair", TimeZone: "UTC", From: today.AddDate(0, 0, -1).Format(time.DateOnly), To: today.AddDate(0, 0, 1).Format(time.DateOnly),
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	id := n.ask(t, n.person(t, "ana", gestor.RoleDeveloper, gestor.Narrowing{}), w)
	got, err := admin.deployments.GetDeployment(t.Context(), &gestorv1.GetDeploymentRequest{Id: id})
	if f := got.GetDeployment().GetHold().GetFreeze(); err != nil || f.GetName() != "Fair" || f.GetEnvironment() != "production" || !f.GetUntil().AsTime().After(today) {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{}).deployments.OverrideFreeze(t.Context(), &gestorv1.OverrideFreezeRequest{Id: id, Reason: "x"})
	wantKind(t, err, fault.KindDenied)
	res, err := admin.deployments.OverrideFreeze(t.Context(), &gestorv1.OverrideFreezeRequest{Id: id, Reason: "the shop is down"})
	hold := res.GetDeployment().GetHold()
	if err != nil || hold.GetFreeze() != nil || hold.GetOverrideBy() != "chief@example.com" || hold.GetOverrideReason() != "the shop is down" {
		t.Errorf("got %v, %v", hold, err)
	}
}

func TestGetPermissions_IsTheMatrixWithTheCallersOwn(t *testing.T) {
	n := newNouns(t)
	held := func(who colleague) (names string, all []*gestorv1.PermissionEntry) {
		t.Helper()
		res, err := who.permissions.GetPermissions(t.Context(), &gestorv1.GetPermissionsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var yours []string
		for _, p := range res.GetPermissions() {
			if p.GetYours() && !p.GetAnybody() {
				yours = append(yours, p.GetName())
			}
		}
		return strings.Join(yours, " "), res.GetPermissions()
	}
	mine, all := held(n.person(t, "vera", gestor.RoleViewer, gestor.Narrowing{}))
	if mine != "MEMBER TENANT_READ APP_READ NODE_READ EVENT_READ" {
		t.Errorf("a viewer holds %s", mine)
	}
	methods := 0
	for _, p := range all {
		if p.GetDescription() == "" {
			t.Errorf("%s is not described", p.GetName())
		}
		for _, m := range p.GetMethods() {
			methods++
			if m.GetName() == "ProtectionService/UpdateProtection" && (p.GetName() != "TENANT_CONFIGURE" || !m.GetStepUp() || m.GetAudit() != "protection.update") {
				t.Errorf("%s: %v", p.GetName(), m)
			}
		}
	}
	if methods < 60 {
		t.Errorf("the table shows %d methods", methods)
	}
	n.person(t, "eva", gestor.RoleDevOps, gestor.Narrowing{})
	mine, _ = held(n.token(t, gestor.Token{ID: "tkn_m", Kind: gestor.TokenPersonal, UserID: "usr_eva", Permissions: []string{"MEMBER", "DEPLOY", "USER_MANAGE"}}))
	if mine != "MEMBER DEPLOY" {
		t.Errorf("the token holds %s", mine)
	}
}
