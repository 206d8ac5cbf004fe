package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestTenants_AreListedByNameInPagesForTheInstallationOnly(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		var errs []error
		for i, name := range []string{"delta", "alpha", "charlie", "bravo", "alpha"} {
			id := gestor.TenantID(fmt.Sprint("ten_", i))
			errs = append(errs, x.PutTenant(ctx, gestor.Tenant{ID: id, Name: name, CreatedAt: time.Unix(int64(9-i), 0)}))
		}
		return errors.Join(errs...)
	})
	v := s.View(gestor.SystemScope())
	var got []string
	page := gestor.Page{Size: 2}
	for more := true; more; more = page.Token != "" {
		some, next, err := v.Tenants(t.Context(), page)
		if err != nil {
			t.Fatal(err)
		}
		for _, tenant := range some {
			got = append(got, tenant.Name+"/"+string(tenant.ID))
		}
		page.Token = next
	}
	if want := "alpha/ten_1 alpha/ten_4 bravo/ten_3 charlie/ten_2 delta/ten_0"; strings.Join(got, " ") != want {
		t.Errorf("got %v", got)
	}
	same, err := v.TenantsByName(t.Context(), "alpha")
	if err != nil || len(same) != 2 || same[0].ID != "ten_4" {
		t.Errorf("got %v, %v", same, err)
	}
	if _, _, err := s.View(gestor.TenantScope("ten_1")).Tenants(t.Context(), gestor.Page{}); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("a tenant lists tenants: %v", err)
	}
}

func TestUse_CountsAppsThatStayAndKeepsTenantsApart(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		var errs []error
		for i, status := range []gestor.AppStatus{gestor.AppActive, gestor.AppInactive, gestor.AppDeleting} {
			for j, tenant := range []gestor.TenantID{"ten_a", "ten_b"} {
				id := fmt.Sprint("app_", i, j)
				errs = append(errs, x.PutApp(ctx, gestor.App{ID: gestor.AppID(id), TenantID: tenant, Slug: id, UID: uint32(10*i + j), Status: status}))
			}
		}
		return errors.Join(errs...)
	})
	all, err := s.View(gestor.SystemScope()).Use(t.Context())
	if err != nil || len(all) != 2 || all["ten_a"].Apps != 2 || all["ten_b"].Apps != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	own := s.View(gestor.TenantScope("ten_a").Within(gestor.Narrowing{Apps: []gestor.AppID{"app_00"}}))
	if used, err := own.UseOf(t.Context(), "ten_a"); err != nil || used.Apps != 2 {
		t.Errorf("a narrower scope uses %v of the tenant's quota, %v", used, err)
	}
	if used, err := own.UseOf(t.Context(), "ten_b"); err != nil || used.Apps != 0 {
		t.Errorf("a tenant learns what another uses: %v, %v", used, err)
	}
}

func TestNodes_OfOneNameAreTheOwnBeforeTheShared(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		return errors.Join(
			x.PutNode(ctx, gestor.Node{ID: "nod_s", TenantID: "ten_s", Name: "web1", Shared: true, CreatedAt: time.Unix(1, 0)}),
			x.PutNode(ctx, gestor.Node{ID: "nod_t", TenantID: "ten_t", Name: "web1", Shared: true, CreatedAt: time.Unix(2, 0)}),
			x.PutNode(ctx, gestor.Node{ID: "nod_a", TenantID: "ten_a", Name: "web1", CreatedAt: time.Unix(3, 0)}),
			x.PutNode(ctx, gestor.Node{ID: "nod_x", TenantID: "ten_x", Name: "web2", CreatedAt: time.Unix(4, 0)}),
		)
	})
	for tenant, want := range map[gestor.TenantID]gestor.NodeID{"ten_a": "nod_a", "ten_b": "nod_s", "ten_t": "nod_t"} {
		if n, err := s.View(gestor.TenantScope(tenant)).NodeByName(t.Context(), "web1"); err != nil || n.ID != want {
			t.Errorf("web1 of %s is %s, want %s (%v)", tenant, n.ID, want, err)
		}
	}
	own := s.View(gestor.TenantScope("ten_b"))
	if _, err := own.NodeByName(t.Context(), "web2"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("a dedicated node of another tenant is found: %v", err)
	}
	all, err := own.AllNodes(t.Context())
	if err != nil || len(all) != 2 {
		t.Errorf("got %v, %v", all, err)
	}
	if _, err := s.View(gestor.SystemScope()).OwnNodeByName(t.Context(), "ten_b", "web1"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("a shared node is taken for an own one: %v", err)
	}
}

func TestAppsUsing_AreThoseThatAreOrWillBeThere(t *testing.T) {
	var uid uint32
	s := newStore(t)
	on := []gestor.NodeID{"nod_1"}
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		var errs []error
		app := func(name string, settings []gestor.NodeID) {
			uid++
			a := gestor.App{ID: gestor.AppID(name), TenantID: "ten_a", Slug: name, UID: uid, Settings: gestor.AppSettings{Nodes: settings}}
			errs = append(errs, x.PutApp(ctx, a), x.PutAppNodes(ctx, a))
		}
		deployment := func(id, name string, state gestor.DeploymentState, live int64, nodes []gestor.NodeID) {
			d := gestor.Deployment{ID: gestor.DeploymentID(id), TenantID: "ten_a", AppID: gestor.AppID(name), State: state, Nodes: nodes}
			if live > 0 {
				d.LiveAt = time.Unix(live, 0)
			}
			errs = append(errs, x.PutDeployment(ctx, d))
		}
		app("settings", on)
		app("elsewhere", nil)
		app("live", nil) // its settings name other nodes, and it has not been deployed there yet
		deployment("dep_1", "live", gestor.DeploymentSucceeded, 5, on)
		app("moved", nil)
		deployment("dep_2", "moved", gestor.DeploymentSucceeded, 5, on)
		deployment("dep_3", "moved", gestor.DeploymentSucceeded, 6, []gestor.NodeID{"nod_2"})
		app("coming", nil)
		deployment("dep_4", "coming", gestor.DeploymentPreparing, 0, on)
		app("failed", nil)
		deployment("dep_5", "failed", gestor.DeploymentFailed, 0, on)
		return errors.Join(errs...)
	})
	found, err := s.View(gestor.SystemScope()).AppsUsing(t.Context(), "nod_1")
	var got []string
	for _, a := range found {
		got = append(got, a.Slug)
	}
	if want := []string{"coming", "live", "settings"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

// installationTables hold nothing of a tenant, or outlive it. A table that is neither here nor knows tenants would keep
// what belongs to one for ever.
var installationTables = map[string]bool{
	"meta": true, "cluster": true, "tenants": true, "servers": true, "server_tokens": true, "sealing_keys": true, "key_rotation": true,
}

func TestPurgeTenant_LeavesNothingOfItInAnyTableButTheAuditLog(t *testing.T) {
	s := newStore(t)
	populate(t, s, "mine", 1)
	populate(t, s, "theirs", 2)
	write(t, s, 3, func(ctx context.Context, x *Txn) error {
		return errors.Join(
			x.PutRequest(ctx, Request{TenantID: "ten_mine", ID: "r1"}), x.PutRequest(ctx, Request{TenantID: "ten_theirs", ID: "r1"}),
		)
	})
	before := rowsOf(t, s, "theirs")
	write(t, s, 4, func(ctx context.Context, x *Txn) error { return x.PurgeTenant(ctx, "ten_mine") })
	for table, n := range rowsOf(t, s, "mine") {
		if stays(table) && n == 0 {
			t.Errorf("%s is gone", table)
		}
		if !stays(table) && n > 0 {
			t.Errorf("%s still has %d rows", table, n)
		}
	}
	for table, n := range rowsOf(t, s, "theirs") {
		if n != before[table] {
			t.Errorf("%s has %d rows of another tenant, there were %d", table, n, before[table])
		}
	}
	if _, err := s.View(gestor.SystemScope()).Tenant(t.Context(), "ten_mine"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("the tenant itself is left: %v", err)
	}
}

// rowsOf counts the rows of the tenant called name in every table that knows tenants.
func rowsOf(t *testing.T, s *Store, name string) map[string]int64 {
	t.Helper()
	tables, err := texts(t.Context(), s, "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
	if err != nil || len(tables) < 15 {
		t.Fatalf("got %v, %v", tables, err)
	}
	out := map[string]int64{}
	for _, table := range tables {
		columns, err := number(t.Context(), s, "SELECT count(*) FROM pragma_table_info('"+table+"') WHERE name = 'tenant_id'")
		if err != nil {
			t.Fatal(err)
		}
		if columns == 0 {
			if !installationTables[table] && !stays(table) {
				t.Errorf("table %s has no tenant_id and is not known to belong to the installation", table)
			}
			continue
		}
		out[table], err = number(t.Context(), s, `SELECT count(*) FROM "`+table+`" WHERE tenant_id = ?`, "ten_"+name)
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
