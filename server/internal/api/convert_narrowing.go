package api

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// narrowingIn reads what somebody is to be kept to; apps are ids or slugs that the caller sees.
func (r reach) narrowingIn(ctx context.Context, field string, in *gestorv1.Narrowing) (gestor.Narrowing, error) {
	var out gestor.Narrowing
	for i, ref := range in.GetApps() {
		app, err := r.app(ctx, ref)
		if errors.Is(err, fault.KindNotFound) {
			return out, fault.Invalid(fmt.Sprintf("%s.apps[%d]", field, i), "there is no app %q", ref).WithFix("see `gestor apps`")
		}
		if err != nil {
			return out, err
		}
		out.Apps = append(out.Apps, app.ID)
	}
	for _, e := range in.GetEnvironments() {
		out.Environments = append(out.Environments, environmentIn(e))
	}
	return out, nil
}

// narrowingOut shows it, apps by slug where the caller sees them; nil if nothing is narrowed.
func (r reach) narrowingOut(ctx context.Context, n gestor.Narrowing) *gestorv1.Narrowing {
	if n.IsZero() {
		return nil
	}
	out := &gestorv1.Narrowing{}
	for _, id := range n.Apps {
		shown := string(id)
		if app, err := r.view.App(ctx, id); err == nil {
			shown = app.Slug
		}
		out.Apps = append(out.Apps, shown)
	}
	for _, e := range n.Environments {
		out.Environments = append(out.Environments, environmentOut(e))
	}
	return out
}

const environmentPrefix = "ENVIRONMENT_"

func environmentIn(e gestorv1.Environment) string {
	return strings.ToLower(strings.TrimPrefix(e.String(), environmentPrefix))
}

func environmentOut(name string) gestorv1.Environment {
	return gestorv1.Environment(gestorv1.Environment_value[environmentPrefix+strings.ToUpper(name)])
}
