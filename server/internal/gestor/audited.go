package gestor

import (
	"net/url"
	"time"
)

// Audited is a value that the audit log may show. What it shows is listed, field by field: hashes, sealed values and whatever
// else nobody listed cannot get there.
type Audited interface{ Audited() map[string]any }

// Masked stands for a secret that is there.
const Masked = "•••"

// masked is empty for no secret.
func masked(there bool) string {
	if there {
		return Masked
	}
	return ""
}

// ShownURL is an address without the user and password in it.
func ShownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.User == nil || u.Host == "" {
		return text
	}
	if _, secret := u.User.Password(); !secret && u.Scheme == "ssh" {
		return text // git@…
	}
	u.User = nil
	return u.Scheme + "://" + Masked + "@" + u.String()[len(u.Scheme)+len("://"):]
}

func shownTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func shownSpan(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

// Audited shows what a person decides of an app.
func (a App) Audited() map[string]any {
	shown := a.Settings.Audited()
	shown["slug"] = a.Slug
	shown["deploy_key"] = a.DeployKey
	return shown
}

// Audited shows all settings.
func (s AppSettings) Audited() map[string]any {
	watch := ""
	if s.Watch != nil {
		watch = s.Watch.String()
	}
	return map[string]any{
		"name": s.Name, "repository": ShownURL(s.Repository), "branch": s.Branch, "type": string(s.Type), "environment": s.Environment,
		"domains": s.Domains, "port": s.Port, "root": s.Root, "build_command": s.BuildCommand, "start_command": s.StartCommand,
		"output": s.Output, "health_path": s.HealthPath, "health_timeout": shownSpan(s.HealthTimeout), "watch": watch,
		"drain": shownSpan(s.Drain), "nodes": s.Nodes, "keep": s.Keep, "shared": s.Shared, "submodules": s.Submodules, "lfs": s.LFS,
		"pre_switch": s.PreSwitch, "post_switch": s.PostSwitch, "known_hosts": s.KnownHosts,
		"limits": s.Limits.shown(), "build_limits": s.BuildLimits.shown(),
	}
}

func (l Limits) shown() map[string]any {
	if l == (Limits{}) {
		return map[string]any{}
	}
	return map[string]any{
		"memory_bytes": l.MemoryBytes, "cpus": l.CPUs, "processes": l.Processes, "time": shownSpan(l.Time), "disk_bytes": l.DiskBytes,
	}
}

// Audited shows a node but for what its agent reports.
func (n Node) Audited() map[string]any {
	return map[string]any{
		"name": n.Name, "tenant": string(n.TenantID), "labels": n.Labels, "draining": n.Draining, "shared": n.Shared,
		"generation": n.Generation,
	}
}

// Audited shows for which node it is, and until when.
func (t JoinToken) Audited() map[string]any {
	return map[string]any{"node": t.NodeName, "labels": t.Labels, "expires_at": shownTime(t.ExpiresAt), "secret": masked(len(t.SecretHash) > 0)}
}

// Audited shows what became of a release.
func (r Release) Audited() map[string]any {
	return map[string]any{"name": r.Name, "pinned": r.Pinned, "status": string(r.Status), "reason": r.Reason}
}

// Audited shows who a server is.
func (s Server) Audited() map[string]any {
	return map[string]any{
		"name": s.Name, "peer_address": s.PeerAddress, "addresses": s.Addresses, "version": s.Version, "replaces": string(s.Replaces),
	}
}

// Audited shows for which server it is, and until when.
func (t ServerToken) Audited() map[string]any {
	return map[string]any{
		"server": t.Name, "replaces": string(t.Replaces), "expires_at": shownTime(t.ExpiresAt), "secret": masked(len(t.SecretHash) > 0),
	}
}

// Audited shows who a user is and what they may, and whether there is a password.
func (u User) Audited() map[string]any {
	shown := map[string]any{
		"email": u.Email, "role": string(u.Role), "status": u.Status, "operator": u.Operator, "password": masked(u.PasswordHash != ""),
	}
	u.Narrow.show(shown)
	return shown
}

func (n Narrowing) show(into map[string]any) {
	into["apps"], into["environments"] = n.Apps, n.Environments
}

// Audited shows how somebody signed in.
func (s Session) Audited() map[string]any {
	return map[string]any{
		"user": string(s.UserID), "expires_at": shownTime(s.ExpiresAt), "second_factor": s.SecondFactor, "address": s.Address,
		"user_agent": s.UserAgent,
	}
}

// Audited shows a tenant and its limits.
func (t Tenant) Audited() map[string]any {
	return map[string]any{
		"name": t.Name, "plan": t.Plan, "status": t.Status, "reason": t.Reason, "second_factor": t.SecondFactor,
		"max_apps": t.Quotas.Apps, "max_databases": t.Quotas.Databases, "storage_bytes": t.Quotas.StorageBytes,
	}
}
