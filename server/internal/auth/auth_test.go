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

// TestHolds_FollowsTheProductsMatrix states the table of the product a second time, by role, as people read it.
func TestHolds_FollowsTheProductsMatrix(t *testing.T) {
	const yes, no = true, false
	roles := []gestor.Role{gestor.RoleAdmin, gestor.RoleDevOps, gestor.RoleDeveloper, gestor.RoleViewer}
	product := map[gestorv1.Permission][4]bool{ // admin, devops, developer, viewer
		gestorv1.Permission_PERMISSION_UNSPECIFIED:      {no, no, no, no},
		gestorv1.Permission_PERMISSION_PUBLIC:           {no, no, no, no}, // held by all without a table
		gestorv1.Permission_PERMISSION_AGENT:            {no, no, no, no},
		gestorv1.Permission_PERMISSION_MEMBER:           {yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_USER_MANAGE:      {yes, no, no, no},
		gestorv1.Permission_PERMISSION_TENANT_CONFIGURE: {yes, no, no, no},
		gestorv1.Permission_PERMISSION_APP_READ:         {yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_APP_WRITE:        {yes, yes, yes, no},
		gestorv1.Permission_PERMISSION_APP_DELETE:       {yes, yes, no, no},
		gestorv1.Permission_PERMISSION_DEPLOY:           {yes, yes, yes, no},
		gestorv1.Permission_PERMISSION_NODE_READ:        {yes, yes, yes, yes},
		gestorv1.Permission_PERMISSION_NODE_MANAGE:      {yes, yes, no, no},
		gestorv1.Permission_PERMISSION_AUDIT_READ:       {yes, yes, no, no},
		gestorv1.Permission_PERMISSION_SERVER_READ:      {yes, yes, no, no},
		gestorv1.Permission_PERMISSION_SERVER_MANAGE:    {yes, no, no, no},
		gestorv1.Permission_PERMISSION_SERVER_DEBUG:     {yes, no, no, no},
	}
	for number, name := range gestorv1.Permission_name {
		want, ok := product[gestorv1.Permission(number)]
		if !ok {
			t.Errorf("%s: not in the product's matrix", name)
		}
		for i, role := range roles {
			if got := auth.Holds(role, gestorv1.Permission(number)); got != want[i] {
				t.Errorf("%s %s: got %v, want %v", role, name, got, want[i])
			}
		}
	}
	if auth.Holds("", gestorv1.Permission_PERMISSION_MEMBER) || auth.Holds("root", gestorv1.Permission_PERMISSION_MEMBER) {
		t.Error("an unknown role holds something")
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
	if got, ok := auth.HashBearer(token); !ok || string(got) != string(hash) || len(token) != 47 {
		t.Fatalf("%s: %x %v", token, got, ok)
	}
	for _, bad := range []string{"", "gss_", token + "x", token[:46], "gsx_" + token[4:], token[:46] + "!", strings.ToUpper(token)} {
		if _, ok := auth.HashBearer(bad); ok {
			t.Errorf("took %q", bad)
		}
	}
}

func FuzzHashBearer_TakesOnlyTokens(f *testing.F) {
	token, _ := auth.NewBearer()
	f.Add(token)
	f.Add("gss_\n")
	f.Fuzz(func(t *testing.T, s string) {
		if _, ok := auth.HashBearer(s); ok && (len(s) != 47 || strings.ContainsAny(s, " \r\n=")) {
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
