package gestor

import "slices"

// Scope bounds what a reader of the state may see. The zero Scope sees nothing.
type Scope struct {
	Tenant TenantID
	Narrow []Narrowing // within the tenant: what is within all of them; none sees all of it
	// Installation sees what belongs to the installation too, of the kinds of things that belong to a tenant or to it.
	Installation bool
	system       bool
}

// TenantScope sees one tenant.
func TenantScope(t TenantID) Scope { return Scope{Tenant: t} }

// SystemScope sees everything. Only leader loops, enrolment, sign-in and what belongs to operators use it, never a handler
// of gestor.v1 behind a tenant permission.
func SystemScope() Scope { return Scope{system: true} }

// IsSystem reports whether s sees everything.
func (s Scope) IsSystem() bool { return s.system }

// WithInstallation is s that sees what belongs to the installation too. Only operators have it.
func (s Scope) WithInstallation() Scope {
	s.Installation = true
	return s
}

// Within is s kept within n too.
func (s Scope) Within(n Narrowing) Scope {
	if !n.IsZero() {
		s.Narrow = append(slices.Clone(s.Narrow), n)
	}
	return s
}

// Allows reports whether s sees an app of its tenant.
func (s Scope) Allows(id AppID, environment string) bool {
	return !slices.ContainsFunc(s.Narrow, func(n Narrowing) bool { return !n.Allows(id, environment) })
}

// Narrowing keeps a caller to some of a tenant's apps: those named, and all of the environments named. The zero Narrowing
// narrows nothing.
type Narrowing struct {
	Apps         []AppID  `json:",omitempty"`
	Environments []string `json:",omitempty"` // "development", "staging", "production"
}

// IsZero reports whether n narrows nothing.
func (n Narrowing) IsZero() bool { return len(n.Apps) == 0 && len(n.Environments) == 0 }

// Allows reports whether an app is within n. An app without an environment is for production.
func (n Narrowing) Allows(id AppID, environment string) bool {
	if environment == "" {
		environment = EnvironmentProduction
	}
	return n.IsZero() || slices.Contains(n.Apps, id) || slices.Contains(n.Environments, environment)
}

// Covers reports whether everything that is within other is within n, as far as can be told without looking at apps.
func (n Narrowing) Covers(other Narrowing) bool {
	if n.IsZero() {
		return true
	}
	if other.IsZero() {
		return false
	}
	return !slices.ContainsFunc(other.Apps, func(a AppID) bool { return !slices.Contains(n.Apps, a) }) &&
		!slices.ContainsFunc(other.Environments, func(e string) bool { return !slices.Contains(n.Environments, e) })
}

// The environments of apps.
const (
	EnvironmentDevelopment = "development"
	EnvironmentStaging     = "staging"
	EnvironmentProduction  = "production"
)
