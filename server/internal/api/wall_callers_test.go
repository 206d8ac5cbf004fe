package api

import (
	"slices"
	"time"

	"connectrpc.com/connect"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// person is somebody who comes to the wall with a session.
type person struct {
	name    string
	user    gestor.User
	session gestor.Session
}

// wallPeople are people in every state that decides what they may do.
func wallPeople(now time.Time) []person {
	at := func(name string, tenant gestor.TenantID, role gestor.Role, change func(*person)) person {
		p := person{
			name:    name,
			user:    gestor.User{TenantID: tenant, Role: role, Status: gestor.StatusActive},
			session: gestor.Session{CreatedAt: now, FreshAt: now, SeenAt: now, ExpiresAt: now.Add(time.Hour)},
		}
		if change != nil {
			change(&p)
		}
		return p
	}
	return []person{
		at("admin", "ten_1", gestor.RoleAdmin, nil),
		at("devops", "ten_1", gestor.RoleDevOps, nil),
		at("developer", "ten_1", gestor.RoleDeveloper, nil),
		at("viewer", "ten_1", gestor.RoleViewer, nil),
		at("operator", "ten_1", gestor.RoleViewer, func(p *person) { p.user.Operator = true }),
		at("roleless", "ten_1", "", nil),
		at("stale", "ten_1", gestor.RoleAdmin, func(p *person) { p.session.FreshAt = now.Add(-auth.FreshFor) }),
		at("idle", "ten_1", gestor.RoleAdmin, func(p *person) { p.session.SeenAt = now.Add(-auth.IdleAfter) }),
		at("expired", "ten_1", gestor.RoleAdmin, func(p *person) { p.session.ExpiresAt = now }),
		at("blocked", "ten_1", gestor.RoleAdmin, func(p *person) { p.user.Status = gestor.StatusBlocked }),
		at("suspended", "ten_2", gestor.RoleAdmin, nil),
		at("other", "ten_3", gestor.RoleAdmin, nil),
		at("trashed", "ten_4", gestor.RoleAdmin, nil),
		at("unready", "ten_5", gestor.RoleAdmin, nil),
		at("ready", "ten_5", gestor.RoleAdmin, func(p *person) { p.session.SecondFactor = true }),
	}
}

// wallMachines are tokens of every sort.
func wallMachines(now time.Time) []gestor.Token {
	return []gestor.Token{
		{Name: "whole", Kind: gestor.TokenPersonal, UserID: "usr_admin"},
		{Name: "narrow", Kind: gestor.TokenPersonal, UserID: "usr_admin", Permissions: []string{"APP_READ", "APP_DELETE"}},
		{Name: "greedy", Kind: gestor.TokenPersonal, UserID: "usr_viewer", Permissions: []string{"APP_READ", "APP_DELETE", "SERVER_MANAGE"}},
		{Name: "service", Kind: gestor.TokenService, UserID: "usr_admin", Role: gestor.RoleDeveloper},
		{Name: "spent", Kind: gestor.TokenPersonal, UserID: "usr_admin", ExpiresAt: now},
		{Name: "orphan", Kind: gestor.TokenPersonal, UserID: "usr_blocked"},
	}
}

// The roles with which callers come through whom the matrix decides.
var wallRoles = map[string]gestor.Role{
	"admin": gestor.RoleAdmin, "devops": gestor.RoleDevOps, "developer": gestor.RoleDeveloper, "viewer": gestor.RoleViewer,
	"operator": gestor.RoleViewer, "stale": gestor.RoleAdmin, "suspended": gestor.RoleAdmin, "unready": gestor.RoleAdmin,
	"ready": gestor.RoleAdmin, "other": gestor.RoleAdmin,
	"whole": gestor.RoleAdmin, "narrow": gestor.RoleAdmin, "greedy": gestor.RoleViewer, "service": gestor.RoleDeveloper,
}

// holds is what the matrix says of a role, told apart from how package auth asks it.
func holds(role gestor.Role, operator bool, p gestorv1.Permission) bool {
	h, _ := auth.HoldersOf(p)
	return slices.Contains(h.Roles, role) || operator && h.Operator
}

// verdict is what the wall must say to a caller before any handler is asked; "" lets the call through. It is worked out
// from what the contract declares and the matrix, by the rules of docs/access.md.
func verdict(caller string, spec connect.Spec, access *gestorv1.Access) string {
	p, changes := access.GetPermission(), !isRead(spec)
	if p == gestorv1.Permission_PERMISSION_PUBLIC {
		return ""
	}
	const denied, stranger = "permission_denied", "unauthenticated"
	switch caller {
	case "nobody", "forged", "nonsense", "expired", "idle", "blocked", "trashed", "deleted", "spent", "orphan", "forged token":
		return stranger
	case "agent", "lapsed":
		return verdictOfAgent(caller == "lapsed", spec.Procedure, p)
	case "roleless":
		return denied
	}
	if p == gestorv1.Permission_PERMISSION_AGENT || !holds(wallRoles[caller], caller == "operator", p) {
		return denied
	}
	named := map[string][]string{"narrow": {"APP_READ", "APP_DELETE"}, "greedy": {"APP_READ", "APP_DELETE", "SERVER_MANAGE"}}[caller]
	isNamed := false
	for _, n := range named {
		isNamed = isNamed || n == auth.Name(p)
	}
	machine := caller == "whole" || caller == "service" || named != nil
	member := p == gestorv1.Permission_PERMISSION_MEMBER
	switch {
	case named != nil && !isNamed && !member,
		machine && access.GetStepUp() && !isNamed,
		machine && member && changes,
		caller == "stale" && access.GetStepUp(),
		caller == "suspended" && changes && !access.GetSuspended(),
		caller == "unready" && !member:
		return denied
	}
	return ""
}

func verdictOfAgent(lapsed bool, procedure string, p gestorv1.Permission) string {
	switch {
	case lapsed && procedure != renewProcedure:
		return "unauthenticated"
	case p == gestorv1.Permission_PERMISSION_AGENT:
		return ""
	}
	return "permission_denied"
}
