package fsm

import (
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// An administrator who is kept to staging is none of production, nor of the tenant as a whole.
func TestNarrowed_AdministratorsDecideForWhatTheySeeAlone(t *testing.T) {
	protection := func(environment string) command.UpdateProtection {
		return command.UpdateProtection{Protection: gestor.Protection{Environment: environment, RequireApproval: true, Approvals: 2}}
	}
	lax := false
	w := peopled(t)
	w.by("usr_a").must(protection("production"))
	w.by("usr_a").must(ofToken("tkn_ci", "ci", func(k *gestor.Token) { k.Kind, k.Role = gestor.TokenService, gestor.RoleDevOps }))
	w.by("usr_narrow").must(protection("staging"))
	for name, op := range map[string]command.Op{
		"lift the protection of production":    command.UpdateProtection{Protection: gestor.Protection{Environment: "production"}},
		"let the tenant do with one factor":    command.UpdateTenant{ID: "ten_a", SecondFactor: &lax},
		"take a token of the tenant back":      command.DeleteToken{ID: "tkn_ci"},
		"take the token of somebody else back": command.DeleteToken{ID: "tkn_usr_admin"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			w.by("usr_narrow").refuses(fault.KindDenied, op)
		})
	}
	w.t = t
	w.by("usr_narrow").must(command.DeleteToken{ID: "tkn_usr_narrow"})
	w.by("usr_admin").must(command.DeleteToken{ID: "tkn_ci"})
	w.by("usr_admin").must(command.UpdateTenant{ID: "ten_a", SecondFactor: &lax})
	w.by("usr_admin").must(command.UpdateProtection{Protection: gestor.Protection{Environment: "production"}})
}
