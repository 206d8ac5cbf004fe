package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// operated is newNouns with the member one an operator of the installation.
func operated(t *testing.T) *nouns {
	t.Helper()
	n := newNouns(t)
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		u, err := x.User(ctx, "usr_one")
		if err != nil {
			return err
		}
		u.Operator = true
		s, err := x.Session(ctx, "ses_one")
		if err != nil {
			return err
		}
		s.FreshAt = time.Now()
		if err := x.PutSession(ctx, s); err != nil {
			return err
		}
		return x.PutUser(ctx, u)
	})
	return n
}

// operatorCalls are all calls of the service that are for operators, about a tenant.
func operatorCalls(m member, tenant string) map[string]func(ctx context.Context) (*gestorv1.Tenant, error) {
	return map[string]func(ctx context.Context) (*gestorv1.Tenant, error){
		"GetTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.GetTenant(ctx, &gestorv1.GetTenantRequest{Tenant: tenant})
			return res.GetTenant(), err
		},
		"UpdateTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.UpdateTenant(ctx, &gestorv1.UpdateTenantRequest{Tenant: tenant, Plan: gestorv1.TenantPlan_TENANT_PLAN_PRO})
			return res.GetTenant(), err
		},
		"SuspendTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.SuspendTenant(ctx, &gestorv1.SuspendTenantRequest{Tenant: tenant, Reason: "unpaid"})
			return res.GetTenant(), err
		},
		"ResumeTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.ResumeTenant(ctx, &gestorv1.ResumeTenantRequest{Tenant: tenant})
			return res.GetTenant(), err
		},
		"CancelTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.CancelTenant(ctx, &gestorv1.CancelTenantRequest{Tenant: tenant})
			return res.GetTenant(), err
		},
		"DeleteTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.DeleteTenant(ctx, &gestorv1.DeleteTenantRequest{Tenant: tenant})
			return res.GetTenant(), err
		},
		"RestoreTenant": func(ctx context.Context) (*gestorv1.Tenant, error) {
			res, err := m.tenants.RestoreTenant(ctx, &gestorv1.RestoreTenantRequest{Tenant: tenant})
			return res.GetTenant(), err
		},
	}
}

func TestTenants_AreForOperatorsAlone(t *testing.T) {
	n := operated(t)
	for name, call := range operatorCalls(n.other, "ten_one") {
		if _, err := call(t.Context()); fault.KindOf(err) != fault.KindDenied {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, list := n.other.tenants.ListTenants(t.Context(), &gestorv1.ListTenantsRequest{})
	_, create := n.other.tenants.CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{Name: "x"})
	_, share := n.other.nodes.ShareNode(t.Context(), &gestorv1.ShareNodeRequest{Node: "web-1"})
	_, dedicate := n.other.nodes.DedicateNode(t.Context(), &gestorv1.DedicateNodeRequest{Node: "web-1"})
	for _, err := range []error{list, create, share, dedicate} {
		wantKind(t, err, fault.KindDenied)
	}
	for name, call := range operatorCalls(n.one, "ten_never") {
		if _, err := call(t.Context()); fault.KindOf(err) != fault.KindNotFound {
			t.Errorf("%s of a tenant that never was: got %v", name, err)
		}
	}
}

func TestTenant_LivesThroughItsStates(t *testing.T) {
	n := operated(t)
	made, err := n.one.tenants.CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{
		RequestId: "r1", Name: "  Acme ", Plan: gestorv1.TenantPlan_TENANT_PLAN_BASIC, Quotas: &gestorv1.TenantQuotas{Apps: -7, Databases: 2},
	})
	if err != nil {
		t.Fatal(err)
	}
	acme := made.GetTenant()
	if l := acme.GetLimits(); acme.GetName() != "Acme" || l.GetApps() != -1 || l.GetDatabases() != 2 || l.GetStorageBytes() != 20<<30 {
		t.Errorf("got %v", acme)
	}
	again, err := n.one.tenants.CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{RequestId: "r1", Name: "Acme"})
	if err != nil || again.GetTenant().GetId() != acme.GetId() {
		t.Errorf("the repeated request made %v, %v", again, err)
	}
	calls := operatorCalls(n.one, "Acme")
	for _, step := range []struct {
		call string
		want gestorv1.TenantStatus
	}{
		{"SuspendTenant", gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED},
		{"CancelTenant", gestorv1.TenantStatus_TENANT_STATUS_CANCELLED},
		{"ResumeTenant", gestorv1.TenantStatus_TENANT_STATUS_ACTIVE},
		{"SuspendTenant", gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED},
		{"DeleteTenant", gestorv1.TenantStatus_TENANT_STATUS_TRASH},
		{"RestoreTenant", gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED},
	} {
		got, err := calls[step.call](t.Context())
		if err != nil || got.GetStatus() != step.want {
			t.Fatalf("%s: got %v, %v", step.call, got, err)
		}
		if trash := step.call == "DeleteTenant"; trash != (got.GetPurgeAt().AsTime().Sub(got.GetTrashedAt().AsTime()) == gestor.TrashTime) {
			t.Errorf("%s: goes at %v", step.call, got.GetPurgeAt())
		}
		if step.want == gestorv1.TenantStatus_TENANT_STATUS_SUSPENDED && got.GetReason() != "unpaid" {
			t.Errorf("%s: the reason is %q", step.call, got.GetReason())
		}
	}
}

func TestDeleteTenant_NeedsARecentProofOfIdentity(t *testing.T) {
	n := operated(t)
	n.put(t, func(ctx context.Context, x *state.Txn) error {
		s, err := x.Session(ctx, "ses_one")
		if err != nil {
			return err
		}
		s.FreshAt = time.Now().Add(-time.Hour)
		return x.PutSession(ctx, s)
	})
	_, err := n.one.tenants.DeleteTenant(t.Context(), &gestorv1.DeleteTenantRequest{Tenant: "ten_other"})
	wantKind(t, err, fault.KindDenied)
}

func TestTenants_OfOneNameAreToldApartByTheirIDs(t *testing.T) {
	n := operated(t)
	for range 2 {
		if _, err := n.one.tenants.CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{Name: "Twin"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := n.one.tenants.GetTenant(t.Context(), &gestorv1.GetTenantRequest{Tenant: "Twin"})
	wantKind(t, err, fault.KindConflict)
	if strings.Count(err.Error(), "ten_") != 2 {
		t.Errorf("the ids are not named: %v", err)
	}
}

func TestTenant_TextIsCheckedBeforeItIsKept(t *testing.T) {
	n := operated(t)
	hostile := []string{"a\u202Eb", "a\nb", "\u200b", "a\x1b[31m"}
	for _, text := range hostile {
		_, create := n.one.tenants.CreateTenant(t.Context(), &gestorv1.CreateTenantRequest{Name: text})
		_, update := n.one.tenants.UpdateTenant(t.Context(), &gestorv1.UpdateTenantRequest{Tenant: "ten_other", Name: &text})
		_, own := n.other.tenants.UpdateOwnTenant(t.Context(), &gestorv1.UpdateOwnTenantRequest{Name: &text})
		_, reason := n.one.tenants.SuspendTenant(t.Context(), &gestorv1.SuspendTenantRequest{Tenant: "ten_other", Reason: text})
		for _, err := range []error{create, update, own, reason} {
			wantKind(t, err, fault.KindInvalid)
		}
	}
}

func TestOwnTenant_IsSeenByItsPeopleWithLimitsAndUse(t *testing.T) {
	n := operated(t)
	n.other.addApp(t, "theirs")
	if _, err := n.one.tenants.UpdateTenant(t.Context(), &gestorv1.UpdateTenantRequest{Tenant: "ten_other", Plan: gestorv1.TenantPlan_TENANT_PLAN_FREE}); err != nil {
		t.Fatal(err)
	}
	name, required := "Other Ltd", true
	if _, err := n.other.tenants.UpdateOwnTenant(t.Context(), &gestorv1.UpdateOwnTenantRequest{Name: &name}); err != nil {
		t.Fatal(err)
	}
	res, err := n.other.tenants.GetOwnTenant(t.Context(), &gestorv1.GetOwnTenantRequest{})
	if got := res.GetTenant(); err != nil || got.GetName() != name || got.GetUsed().GetApps() != 1 || got.GetLimits().GetApps() != 3 || got.GetSecondFactor() {
		t.Errorf("got %v, %v", got, err)
	}
	own, err := n.other.tenants.UpdateOwnTenant(t.Context(), &gestorv1.UpdateOwnTenantRequest{SecondFactor: &required})
	if err != nil || !own.GetTenant().GetSecondFactor() || own.GetTenant().GetName() != name {
		t.Errorf("got %v, %v", own, err)
	}
	all, err := n.one.tenants.ListTenants(t.Context(), &gestorv1.ListTenantsRequest{})
	if err != nil || len(all.GetTenants()) != 3 || all.GetTenants()[1].GetUsed().GetApps() != 1 {
		t.Errorf("got %v, %v", all, err)
	}
}

func TestQuota_IsExplainedOnTheWire(t *testing.T) {
	n := operated(t)
	n.other.addApp(t, "first")
	if _, err := n.one.tenants.UpdateTenant(t.Context(), &gestorv1.UpdateTenantRequest{Tenant: "ten_other", Quotas: &gestorv1.TenantQuotas{Apps: 1}}); err != nil {
		t.Fatal(err)
	}
	own := settings()
	own.Domains = []string{"second.example"}
	_, err := n.other.apps.CreateApp(t.Context(), &gestorv1.CreateAppRequest{Slug: "second", Settings: own})
	wantKind(t, err, fault.KindConflict)
	if !strings.Contains(err.Error(), "may have 1 apps and has 1") {
		t.Errorf("got %v", err)
	}
}

func TestSuspendedTenant_ReadsAndChangesNothing(t *testing.T) {
	n := operated(t)
	app := n.other.addApp(t, "theirs")
	if _, err := operatorCalls(n.one, "ten_other")["SuspendTenant"](t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.other.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: app.GetId()}); err != nil {
		t.Errorf("reading: %v", err)
	}
	_, err := n.other.apps.UpdateEnv(t.Context(), &gestorv1.UpdateEnvRequest{App: app.GetId(), Set: map[string]string{"A": "1"}})
	wantKind(t, err, fault.KindDenied)
	if _, err := operatorCalls(n.one, "ten_other")["DeleteTenant"](t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.other.apps.GetApp(t.Context(), &gestorv1.GetAppRequest{App: app.GetId()}); err == nil {
		t.Error("a session of a deleted tenant still reads")
	}
}
