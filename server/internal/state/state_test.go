package state

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func newStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	write(t, s, 0, func(ctx context.Context, x *Txn) error { return x.RaiseLevel(ctx, NewestLevel()) })
	return s
}

// write commits what put writes at a revision.
func write(t *testing.T, s *Store, revision uint64, put func(ctx context.Context, x *Txn) error) {
	t.Helper()
	x, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x.Revision = revision
	if err := put(t.Context(), x); err != nil {
		t.Fatal(err)
	}
	if err := x.Commit(t.Context(), revision); err != nil {
		t.Fatal(err)
	}
}

// populate writes one of everything for a tenant, whose ids all end in its name.
func populate(t *testing.T, s *Store, name string, uid uint32) {
	t.Helper()
	populateIn(t, s, gestor.TenantID("ten_"+name), name, uid)
}

func populateIn(t *testing.T, s *Store, tenant gestor.TenantID, name string, uid uint32) {
	t.Helper()
	at := time.Unix(1, int64(uid)).UTC()
	app := gestor.App{ID: gestor.AppID("app_" + name), TenantID: tenant, Slug: "app-" + name, UID: uid, CreatedAt: at}
	app.Settings.Nodes = []gestor.NodeID{gestor.NodeID("nod_" + name)}
	app.Status = gestor.AppDeleting
	write(t, s, uint64(uid), func(ctx context.Context, x *Txn) error {
		var errs []error
		put := func(err error) { errs = append(errs, err) }
		put(x.PutTenant(ctx, gestor.Tenant{ID: tenant}))
		put(x.PutUser(ctx, gestor.User{ID: gestor.UserID("usr_" + name), TenantID: tenant, Email: name + "@example.com"}))
		put(x.PutSession(ctx, gestor.Session{ID: gestor.SessionID("ses_" + name), UserID: gestor.UserID("usr_" + name), TenantID: tenant, TokenHash: []byte(name)}))
		put(x.PutToken(ctx, gestor.Token{
			ID: gestor.TokenID("tkn_" + name), TenantID: tenant, Kind: gestor.TokenPersonal, UserID: gestor.UserID("usr_" + name), Hash: []byte(name),
		}))
		put(x.PutToken(ctx, gestor.Token{ID: gestor.TokenID("service_" + name), TenantID: tenant, Kind: gestor.TokenService, Hash: []byte("service " + name)}))
		put(x.PutJoinToken(ctx, gestor.JoinToken{ID: "join_" + name, TenantID: tenant}))
		put(x.PutNode(ctx, gestor.Node{ID: gestor.NodeID("nod_" + name), TenantID: tenant, Name: "node-" + name, Labels: map[string]string{"a": "b"}}))
		put(x.PutApp(ctx, app))
		put(x.PutAppNodes(ctx, app))
		put(x.PutEnv(ctx, app, gestor.EnvVar{Name: "KEY_" + name, Sealed: []byte("x"), Since: 2}))
		put(x.PutPastEnv(ctx, app, gestor.EnvVar{Name: "KEY_" + name, Sealed: []byte("x"), Since: 1}, 2))
		put(x.PutEnvVersion(ctx, gestor.EnvVersion{AppID: app.ID, TenantID: tenant, Version: 1}))
		put(x.PutBuild(ctx, gestor.Build{ID: gestor.BuildID("bld_" + name), TenantID: tenant, AppID: app.ID, Number: 1}))
		put(x.PutRelease(ctx, gestor.Release{
			ID: gestor.ReleaseID("rel_" + name), TenantID: tenant, AppID: app.ID, Name: "r1", Status: gestor.ReleaseGood,
			BuildID: gestor.BuildID("bld_" + name),
		}))
		put(x.PutDeployment(ctx, gestor.Deployment{
			ID: gestor.DeploymentID("dep_" + name), TenantID: tenant, AppID: app.ID, State: gestor.DeploymentBuilding,
		}))
		put(x.PutDeployment(ctx, gestor.Deployment{
			ID: gestor.DeploymentID("ended_" + name), TenantID: tenant, AppID: app.ID, State: gestor.DeploymentSucceeded,
			ReleaseID: gestor.ReleaseID("rel_" + name),
		}))
		put(x.PutTask(ctx, gestor.Task{
			ID: gestor.TaskID("tsk_" + name), TenantID: tenant, AppID: app.ID, State: gestor.TaskQueued,
			DeploymentID: gestor.DeploymentID("dep_" + name),
		}))
		put(x.PutTask(ctx, gestor.Task{
			ID: gestor.TaskID("held_" + name), TenantID: tenant, AppID: app.ID, State: gestor.TaskLeased,
			NodeID: gestor.NodeID("nod_" + name),
		}))
		put(x.PutInvitation(ctx, gestor.Invitation{
			ID: gestor.InvitationID("inv_" + name), TenantID: tenant, Email: name + "@example.com", SecretHash: []byte(name),
		}))
		put(x.PutFactor(ctx, gestor.Factor{
			ID: gestor.FactorID("fac_" + name), TenantID: tenant, UserID: gestor.UserID("usr_" + name), Kind: gestor.FactorPasskey, CredentialID: []byte(name),
		}))
		put(x.SetRecoveryCodes(ctx, gestor.User{ID: gestor.UserID("usr_" + name), TenantID: tenant}, [][]byte{[]byte(name)}))
		put(x.PutProtection(ctx, gestor.Protection{TenantID: tenant, Environment: "production"}))
		put(x.PutApproval(ctx, gestor.Approval{
			DeploymentID: gestor.DeploymentID("dep_" + name), UserID: gestor.UserID("usr_" + name), TenantID: tenant, AppID: app.ID,
		}))
		put(x.PutAudit(ctx, gestor.AuditEntry{TenantID: tenant, Action: "test." + name}))
		put(x.PutServer(ctx, gestor.Server{ID: gestor.ServerID("srv_" + name), Name: "server-" + name}))
		put(x.PutServerToken(ctx, gestor.ServerToken{ID: "token-" + name, CreatedBy: name}))
		event := gestor.Event{
			ID: gestor.EventID("evt_" + name), TenantID: tenant, Severity: gestor.SeverityError, Kind: "thing_" + name, ObjectID: "thing_" + name, AppID: app.ID,
		}
		put(x.PutEvent(ctx, event))
		put(x.PutEventReads(ctx, gestor.EventReads{UserID: gestor.UserID("usr_" + name), TenantID: tenant}))
		put(x.PutChannel(ctx, gestor.Channel{ID: gestor.ChannelID("chn_" + name), TenantID: tenant, Name: "channel-" + name}))
		put(x.PutProvider(ctx, gestor.Provider{
			ID: gestor.ProviderID("prv_" + name), TenantID: tenant, Name: "provider-" + name, Domains: []string{name + ".example"},
		}))
		put(x.PutIdentity(ctx, gestor.Identity{
			ID: gestor.IdentityID("idn_" + name), TenantID: tenant, ProviderID: gestor.ProviderID("prv_" + name), Subject: "subject-" + name,
			UserID: gestor.UserID("usr_" + name),
		}))
		put(x.PutDelivery(ctx, gestor.Delivery{
			ID: gestor.DeliveryID("dlv_" + name), TenantID: tenant, ChannelID: gestor.ChannelID("chn_" + name), Event: event,
			State: gestor.DeliveryQueued, Attempts: 1,
		}))
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// callAll calls every method of a View with arguments of the tenant called name, and returns what each returned.
func callAll(t *testing.T, v *View, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for m := range reflect.TypeFor[*View]().Methods() {
		if m.Name == "Scope" {
			continue
		}
		args := []reflect.Value{reflect.ValueOf(v)}
		for j := 1; j < m.Type.NumIn(); j++ {
			args = append(args, argument(t, m.Name, m.Type.In(j), name))
		}
		var got []string
		for _, r := range m.Func.Call(args) {
			got = append(got, fmt.Sprintf("%+v", r.Interface()))
		}
		out[m.Name] = strings.Join(got, " ")
	}
	return out
}

func argument(t *testing.T, method string, typ reflect.Type, name string) reflect.Value {
	t.Helper()
	prefix := map[string]string{
		"TenantID": "ten_", "UserID": "usr_", "SessionID": "ses_", "NodeID": "nod_", "AppID": "app_", "BuildID": "bld_",
		"ReleaseID": "rel_", "DeploymentID": "dep_", "TaskID": "tsk_", "ServerID": "srv_", "TokenID": "tkn_", "InvitationID": "inv_", "FactorID": "fac_",
		"EventID": "evt_", "ChannelID": "chn_", "DeliveryID": "dlv_", "ProviderID": "prv_", "IdentityID": "idn_",
	}[typ.Name()]
	named := map[string]string{
		"UserByEmail": name + "@example.com", "InvitationByEmail": name + "@example.com", "JoinToken": "join_" + name, "NodeByName": "node-" + name, "OwnNodeByName": "node-" + name,
		"AppBySlug": "app-" + name, "ReleaseByName": "r1", "ServerByName": "server-" + name,
		"ServerToken": "token-" + name, "Protection": "production", "ChannelByName": "channel-" + name, "ProviderByName": "provider-" + name,
		"ProviderByDomain": name + ".example", "IdentityBySubject": "subject-" + name, "LastEvent": "thing_" + name,
	}
	switch {
	case prefix != "":
		return reflect.ValueOf(prefix + name).Convert(typ)
	case typ.Kind() == reflect.Interface:
		return reflect.ValueOf(t.Context())
	case typ == reflect.TypeFor[string]():
		return reflect.ValueOf(named[method])
	case typ == reflect.TypeFor[[]byte]():
		return reflect.ValueOf([]byte(name))
	case typ == reflect.TypeFor[gestor.DeliveryState]():
		return reflect.ValueOf(gestor.DeliveryQueued)
	case (method == "DueDeliveries" || method == "EventsChangedSince") && typ == reflect.TypeFor[int]():
		return reflect.ValueOf(10)
	case typ == reflect.TypeFor[gestor.App]():
		return reflect.ValueOf(gestor.App{ID: gestor.AppID("app_" + name)})
	case (method == "AuditAfter" || method == "FollowAudit") && typ == reflect.TypeFor[int64]():
		return reflect.ValueOf(int64(0))
	case (method == "AuditAfter" || method == "FollowAudit") && typ == reflect.TypeFor[int]():
		return reflect.ValueOf(10)
	case typ == reflect.TypeFor[int64]():
		return reflect.ValueOf(int64(1))
	default:
		return reflect.Zero(typ)
	}
}

func TestView_NeverReturnsAnotherTenantsRows(t *testing.T) {
	s := newStore(t)
	populate(t, s, "mine", 1)
	populate(t, s, "theirs", 2)
	own := callAll(t, s.View(gestor.TenantScope("ten_mine")), "mine")
	foreign := callAll(t, s.View(gestor.TenantScope("ten_mine")), "theirs")
	nobody := callAll(t, s.View(gestor.Scope{}), "mine")
	installation := map[string]bool{"SealingKey": true, "SealingKeys": true, "KeyRotation": true, "SealedOtherwise": true, "SealedCounts": true, "Tenants": true, "TenantsByName": true, "TenantsInTrash": true, "Operators": true, "Cluster": true, "Servers": true, "Server": true, "ServerByName": true, "ServerToken": true, "AuditYears": true, "LastAuditSeq": true}
	counts := map[string]string{"HasProvider": "true <nil>", "UnreadEvents": "map[error:1] <nil>", "Use": "map[] <nil>", "UseOf": "{Apps:0 Databases:0 StorageBytes:0} <nil>", "CountNodes": "1 <nil>", "LastTaskRevision": "1 <nil>", "TaskCounts": "map[leased:1 queued:1] <nil>"}
	for method, got := range own {
		if want, ok := counts[method]; ok {
			if got != want {
				t.Errorf("%s counts %s, want %s", method, got, want)
			}
			continue
		}
		if !installation[method] && !strings.Contains(got, "mine") {
			t.Errorf("%s does not show a tenant its own: %s", method, got)
		}
		if installation[method] && strings.Contains(got, "mine") {
			t.Errorf("%s shows a tenant what is the installation's: %s", method, got)
		}
		if strings.Contains(got, "theirs") || strings.Contains(foreign[method], "theirs") {
			t.Errorf("%s shows another tenant's rows: %s", method, foreign[method])
		}
		if strings.Contains(nobody[method], "mine") {
			t.Errorf("%s shows rows to the zero scope: %s", method, nobody[method])
		}
	}
}

func TestVersion_ChangesWithTheTablesThatAreTouchedAlone(t *testing.T) {
	s := newStore(t)
	users, servers := s.Version(Users, Sessions), s.Version(Servers)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		return x.PutUser(ctx, gestor.User{ID: "usr_1", TenantID: "ten_1"})
	})
	if s.Version(Users, Sessions) == users {
		t.Error("a new user changed nothing")
	}
	if s.Version(Servers) != servers {
		t.Error("a new user changed the servers")
	}
}

func TestPopulate_LeavesNoTenantTableEmpty(t *testing.T) {
	s := newStore(t)
	populate(t, s, "mine", 1)
	pin, err := s.Pin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pin.Close()
	names, err := pin.texts(t.Context(), "SELECT m.name FROM sqlite_master m JOIN pragma_table_info(m.name) c ON c.name = 'tenant_id' WHERE m.type = 'table'")
	if err != nil || len(names) < 11 {
		t.Fatalf("got %v, %v", names, err)
	}
	for _, name := range names {
		n, err := number(t.Context(), s, "SELECT count(*) FROM "+name)
		if err != nil || n == 0 && name != "request_ids" { // which no View reads
			t.Errorf("the scope test writes nothing into %s: %v", name, err)
		}
	}
}

func TestPages_ReachEveryItemOnce(t *testing.T) {
	s := newStore(t)
	write(t, s, 1, func(ctx context.Context, x *Txn) error {
		for i := range 7 {
			id := gestor.TaskID(fmt.Sprintf("tsk_%d", i))
			task := gestor.Task{ID: id, TenantID: "ten_a", CreatedAt: time.Unix(int64(i/3), 0)} // some of the same age
			node := gestor.Node{ID: gestor.NodeID(id), TenantID: "ten_a", Name: fmt.Sprint("n", i)}
			if err := x.PutTask(ctx, task); err != nil {
				return err
			}
			if err := x.PutNode(ctx, node); err != nil {
				return err
			}
			if err := x.PutAudit(ctx, gestor.AuditEntry{TenantID: "ten_a"}); err != nil {
				return err
			}
		}
		return nil
	})
	v := s.View(gestor.TenantScope("ten_a"))
	for name, read := range map[string]func(gestor.Page) (int, string, error){
		"tasks": func(p gestor.Page) (int, string, error) {
			l, n, err := v.Tasks(t.Context(), TaskFilter{}, p)
			return len(l), n, err
		},
		"nodes": func(p gestor.Page) (int, string, error) { l, n, err := v.Nodes(t.Context(), p); return len(l), n, err },
		"audit": func(p gestor.Page) (int, string, error) {
			l, n, err := v.AuditEntries(t.Context(), p)
			return len(l), n, err
		},
	} {
		page, total, calls := gestor.Page{Size: 2}, 0, 0
		for more := true; more; more = page.Token != "" {
			n, next, err := read(page)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			total, calls, page.Token = total+n, calls+1, next
		}
		if total != 7 || calls != 4 {
			t.Errorf("%s: %d items in %d pages", name, total, calls)
		}
		if _, _, err := read(gestor.Page{Token: "nonsense!"}); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%s: a foreign token gave %v", name, err)
		}
	}
}

func TestPutTask_KeepsEveryField(t *testing.T) {
	s := newStore(t)
	var want gestor.Task
	v := reflect.ValueOf(&want).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case time.Time:
			f.Set(reflect.ValueOf(time.Unix(int64(i), 5).UTC()))
		case []byte:
			f.SetBytes([]byte{byte(i)})
		case []gestor.NodeID:
			f.Set(reflect.ValueOf([]gestor.NodeID{"a", "b"}))
		default:
			switch f.Kind() {
			case reflect.String:
				f.SetString(fmt.Sprint("v", i))
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Uint64:
				f.SetUint(uint64(i))
			default:
				f.SetInt(int64(i))
			}
		}
	}
	want.Revision = 77
	write(t, s, 77, func(ctx context.Context, x *Txn) error { return x.PutTask(ctx, want) })
	got, err := s.View(gestor.SystemScope()).Task(t.Context(), want.ID)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestWatch_SignalsCommitsOfItsTablesOnceUntilHeard(t *testing.T) {
	s := newStore(t)
	nodes, users := s.Watch(Nodes, Apps), s.Watch(Users)
	defer nodes.Close()
	for i := range 3 {
		write(t, s, uint64(i), func(ctx context.Context, x *Txn) error {
			return x.PutNode(ctx, gestor.Node{ID: "nod_1", TenantID: "t", Name: "n"})
		})
	}
	if len(nodes.C) != 1 || len(users.C) != 0 {
		t.Errorf("%d signals for nodes, %d for users", len(nodes.C), len(users.C))
	}
	users.Close()
	users.Close()
	write(t, s, 9, func(ctx context.Context, x *Txn) error { return x.PutUser(ctx, gestor.User{ID: "u", TenantID: "t"}) })
	if len(users.C) != 0 {
		t.Error("a closed subscription was signalled")
	}
}

func TestTxn_IsNotSeenBeforeItsCommitNorAfterItsRollback(t *testing.T) {
	s := newStore(t)
	x, err := s.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := x.PutUser(t.Context(), gestor.User{ID: "u", TenantID: "t"}); err != nil {
		t.Fatal(err)
	}
	v := s.View(gestor.SystemScope())
	if _, err := v.User(t.Context(), "u"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("an uncommitted user was read: %v", err)
	}
	if _, err := x.User(t.Context(), "u"); err != nil {
		t.Errorf("the transaction does not see its own write: %v", err)
	}
	if err := x.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := v.User(t.Context(), "u"); fault.KindOf(err) != fault.KindNotFound {
		t.Errorf("a user was read after the rollback: %v", err)
	}
}

func TestView_RefusesWrites(t *testing.T) {
	s := newStore(t)
	rows, err := s.query(t.Context(), "DELETE FROM users RETURNING id")
	if err == nil {
		defer rows.Close()
		rows.Next()
		err = rows.Err()
	}
	if err == nil {
		t.Error("a reader may write")
	}
}

func TestView_OfANarrowerScopeShowsNothingOfOtherApps(t *testing.T) {
	s := newStore(t)
	populate(t, s, "mine", 1)
	populateIn(t, s, "ten_mine", "hidden", 2)
	scope := gestor.TenantScope("ten_mine").Within(gestor.Narrowing{Apps: []gestor.AppID{"app_mine"}})
	whole := callAll(t, s.View(gestor.TenantScope("ten_mine")), "hidden")
	narrow := callAll(t, s.View(scope), "hidden")
	bound := 0
	for method, got := range narrow {
		if strings.Contains(got, "app_hidden") || strings.Contains(got, "app-hidden") {
			t.Errorf("%s shows another app: %s", method, got)
		}
		if strings.Contains(whole[method], "app_hidden") {
			bound++
		}
	}
	if bound < 15 {
		t.Errorf("only %d methods show apps at all", bound)
	}
	for method, got := range callAll(t, s.View(scope), "mine") {
		if strings.Contains(callAll(t, s.View(gestor.TenantScope("ten_mine")), "mine")[method], "app_mine") && !strings.Contains(got, "app_mine") {
			t.Errorf("%s does not show the app the scope is for: %s", method, got)
		}
	}
	for environment, want := range map[string]bool{"production": true, "staging": false} {
		_, err := s.View(gestor.TenantScope("ten_mine").Within(gestor.Narrowing{Environments: []string{environment}})).App(t.Context(), "app_mine")
		if (err == nil) != want {
			t.Errorf("an app without an environment, to who is kept to %s: %v", environment, err)
		}
	}
}
