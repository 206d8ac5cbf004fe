package auth_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// TestMay_FollowsTheProductsMatrix states the table of the product a second time, as people read it.
func TestMay_FollowsTheProductsMatrix(t *testing.T) {
	const yes, no = true, false
	people := []auth.Caller{
		{Kind: auth.User, User: gestor.User{Role: gestor.RoleAdmin}},
		{Kind: auth.User, User: gestor.User{Role: gestor.RoleDevOps}},
		{Kind: auth.User, User: gestor.User{Role: gestor.RoleDeveloper}},
		{Kind: auth.User, User: gestor.User{Role: gestor.RoleViewer}},
		{Kind: auth.User, User: gestor.User{Role: gestor.RoleViewer, Operator: true}},
	}
	product := map[gestorv1.Permission][5]bool{ // admin, devops, developer, viewer, an operator who is a viewer
		gestorv1.Permission_PERMISSION_PUBLIC:               {yes, yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_AGENT:                {no, no, no, no, no},
		gestorv1.Permission_PERMISSION_UNSPECIFIED:          {no, no, no, no, no},
		gestorv1.Permission_PERMISSION_MEMBER:               {yes, yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_USER_MANAGE:          {yes, no, no, no, no},
		gestorv1.Permission_PERMISSION_TENANT_CONFIGURE:     {yes, no, no, no, no},
		gestorv1.Permission_PERMISSION_USER_READ:            {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_TENANT_READ:          {yes, yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_APP_READ:             {yes, yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_APP_WRITE:            {yes, yes, yes, no, no},
		gestorv1.Permission_PERMISSION_APP_DELETE:           {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_DEPLOY:               {yes, yes, yes, no, no},
		gestorv1.Permission_PERMISSION_DEPLOY_APPROVE:       {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_SECRET_REVEAL:        {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_NODE_READ:            {yes, yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_NODE_MANAGE:          {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_AUDIT_READ:           {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_EVENT_READ:           {yes, yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_CHANNEL_MANAGE:       {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_SERVER_READ:          {no, no, no, no, yes},
		gestorv1.Permission_PERMISSION_SERVER_MANAGE:        {no, no, no, no, yes},
		gestorv1.Permission_PERMISSION_SERVER_DEBUG:         {no, no, no, no, yes},
		gestorv1.Permission_PERMISSION_PLATFORM_MANAGE:      {no, no, no, no, yes},
		gestorv1.Permission_PERMISSION_PLATFORM_AUDIT:       {no, no, no, no, yes},
		gestorv1.Permission_PERMISSION_DATABASE_MANAGE:      {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_DATABASE_USER_CREATE: {yes, yes, no, no, no},
		gestorv1.Permission_PERMISSION_FILE_UPLOAD:          {yes, yes, yes, no, no},
		gestorv1.Permission_PERMISSION_XUI_CONFIGURE:        {yes, no, no, no, no},
	}
	for number, name := range gestorv1.Permission_name {
		want, ok := product[gestorv1.Permission(number)]
		if !ok {
			t.Errorf("%s: not in the product's matrix", name)
		}
		for i, who := range people {
			if got := who.May(gestorv1.Permission(number)); got != want[i] {
				t.Errorf("%s, operator %v, %s: got %v, want %v", who.User.Role, who.User.Operator, name, got, want[i])
			}
		}
	}
	for _, role := range []gestor.Role{"", "root"} {
		if (auth.Caller{Kind: auth.User, User: gestor.User{Role: role}}).May(gestorv1.Permission_PERMISSION_MEMBER) {
			t.Errorf("the unknown role %q holds something", role)
		}
	}
}

func TestCaller_OfATokenHasNoMoreThanItsUserAndItsPermissions(t *testing.T) {
	token := func(kind gestor.TokenKind, user, role gestor.Role, named ...string) auth.Caller {
		return auth.Caller{Kind: auth.Machine, User: gestor.User{Role: user}, Token: gestor.Token{Kind: kind, Role: role, Permissions: named}}
	}
	const read, drop = gestorv1.Permission_PERMISSION_APP_READ, gestorv1.Permission_PERMISSION_APP_DELETE
	for name, c := range map[string]struct {
		caller            auth.Caller
		reads, drops, now bool
	}{
		"all of an admin":         {token(gestor.TokenPersonal, gestor.RoleAdmin, ""), true, true, false},
		"named of an admin":       {token(gestor.TokenPersonal, gestor.RoleAdmin, "", "APP_DELETE"), false, true, true},
		"named of a viewer":       {token(gestor.TokenPersonal, gestor.RoleViewer, "", "APP_DELETE"), false, false, true},
		"of a service":            {token(gestor.TokenService, "", gestor.RoleDevOps), true, true, false},
		"personal ignores a role": {token(gestor.TokenPersonal, gestor.RoleViewer, gestor.RoleAdmin), true, false, false},
		"service ignores a user":  {token(gestor.TokenService, gestor.RoleAdmin, gestor.RoleViewer), true, false, false},
	} {
		if got := c.caller; got.May(read) != c.reads || got.May(drop) != c.drops || got.Fresh(drop, time.Now()) != c.now {
			t.Errorf("%s: read %v, delete %v, fresh %v", name, got.May(read), got.May(drop), got.Fresh(drop, time.Now()))
		}
	}
}

func TestCaller_ScopeIsWhatUserAndTokenAreBothFor(t *testing.T) {
	c := auth.Caller{
		Kind: auth.Machine, Tenant: "ten_1",
		User:  gestor.User{Narrow: gestor.Narrowing{Environments: []string{"staging"}}},
		Token: gestor.Token{Narrow: gestor.Narrowing{Apps: []gestor.AppID{"app_1"}}},
	}
	for _, a := range []struct {
		id   gestor.AppID
		env  string
		want bool
	}{{"app_1", "staging", true}, {"app_1", "production", false}, {"app_1", "", false}, {"app_2", "staging", false}} {
		if got := c.Scope().Allows(a.id, a.env); got != a.want {
			t.Errorf("%s in %q: got %v", a.id, a.env, got)
		}
	}
}

func TestMay_KeepsAgentsAndPeopleApart(t *testing.T) {
	agent := auth.Caller{Kind: auth.Agent, Node: gestor.Node{ID: "nod_1", TenantID: "ten_1"}}
	admin := auth.Caller{Kind: auth.User, User: gestor.User{Role: gestor.RoleAdmin, TenantID: "ten_1"}}
	for number := range gestorv1.Permission_name {
		p := gestorv1.Permission(number)
		public := p == gestorv1.Permission_PERMISSION_PUBLIC
		if agent.May(p) != (public || p == gestorv1.Permission_PERMISSION_AGENT) {
			t.Errorf("agent %v: %v", p, agent.May(p))
		}
		if p == gestorv1.Permission_PERMISSION_AGENT && admin.May(p) {
			t.Error("an admin passes for an agent")
		}
		if (auth.Caller{}).May(p) != public {
			t.Errorf("nobody %v", p)
		}
	}
}

func TestVerify_TakesOnlyTheRightPassword(t *testing.T) {
	p := auth.NewPasswords(2)
	phc, err := p.Hash(t.Context(), "correct horse")
	if err != nil || !strings.HasPrefix(phc, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("got %q, %v", phc, err)
	}
	for password, want := range map[string]bool{"correct horse": true, "correct horsf": false, "": false} {
		if got, err := p.Verify(t.Context(), phc, password); err != nil || got != want {
			t.Errorf("%q: got %v, %v", password, got, err)
		}
	}
	if got, err := p.Verify(t.Context(), "", "correct horse"); got || err != nil {
		t.Errorf("unknown user: got %v, %v", got, err)
	}
}

func TestVerify_RefusesHashesThatWouldEatTheServer(t *testing.T) {
	p := auth.NewPasswords(1)
	for _, phc := range []string{
		"x", "$argon2id$", "$argon2i$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3Vt",
		"$argon2id$v=19$m=4000000000,t=1,p=1$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3Vt",
		"$argon2id$v=19$m=8,t=4000000,p=1$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3Vt",
		"$argon2id$v=19$m=8,t=1,p=0$c2FsdHNhbHQ$c3Vtc3Vtc3Vtc3Vtc3Vt",
	} {
		if ok, err := p.Verify(t.Context(), phc, "x"); ok || err == nil {
			t.Errorf("%s: got %v, %v", phc, ok, err)
		}
	}
}

func TestPasswords_WaitForASlotNoLongerThanTheCaller(t *testing.T) {
	p := auth.NewPasswords(0)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Hash(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}

func TestBearer_IsFoundByItsHashAndNonsenseIsNot(t *testing.T) {
	token, hash := auth.NewBearer()
	if got, _, ok := auth.HashBearer(token); !ok || string(got) != string(hash) || len(token) != 47 {
		t.Fatalf("%s: %x %v", token, got, ok)
	}
	for _, bad := range []string{"", "gss_", token + "x", token[:46], "gsx_" + token[4:], token[:46] + "!", strings.ToUpper(token)} {
		if _, _, ok := auth.HashBearer(bad); ok {
			t.Errorf("took %q", bad)
		}
	}
}

func FuzzHashBearer_TakesOnlyTokens(f *testing.F) {
	token, _ := auth.NewBearer()
	f.Add(token)
	f.Add("gss_\n")
	f.Fuzz(func(t *testing.T, s string) {
		if _, _, ok := auth.HashBearer(s); ok && (len(s) != 47 || strings.ContainsAny(s, " \r\n=")) {
			t.Fatalf("took %q", s)
		}
	})
}

func TestThrottle_MakesGuessersWaitLongerAndForgetsThemInTheEnd(t *testing.T) {
	now := time.Unix(0, 0)
	th := auth.NewThrottle(auth.ThrottleOptions{Free: 2, First: time.Second, Most: time.Minute, Now: func() time.Time { return now }})
	waits := func(keys ...string) time.Duration { return th.Take(keys...) }
	for range 3 {
		if w := waits("a", "net"); w != 0 {
			t.Fatalf("waits %v too early", w)
		}
	}
	if w := waits("a"); w != time.Second {
		t.Fatalf("got %v, want 1s", w)
	}
	if w := waits("b", "net"); w != time.Second {
		t.Fatalf("another account of the same network: got %v", w)
	}
	now = now.Add(time.Second)
	if w := waits("a"); w != 0 {
		t.Fatalf("after the wait: %v", w)
	}
	if w := waits("a"); w != 2*time.Second {
		t.Fatalf("got %v, want twice as long", w)
	}
	th.Succeeded("a")
	if w := waits("a"); w != 0 {
		t.Fatalf("after success: %v", w)
	}
	now = now.Add(2 * time.Minute)
	for range 3 {
		if w := waits("net"); w != 0 {
			t.Fatalf("not forgotten: %v", w)
		}
	}
}

func TestNetwork_IsWhatOnePartyHolds(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.77": "192.0.2.0/24", "::ffff:192.0.2.77": "192.0.2.0/24",
		"2001:db8:1:2:3::4": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "x": "x",
	} {
		if got := auth.Network(in); got != want {
			t.Errorf("%s: got %s, want %s", in, got, want)
		}
	}
}
