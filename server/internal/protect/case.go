package protect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Case is all that decides whether a deployment may switch.
type Case struct { //nolint:recvcheck // what only asks takes a copy
	Deployment gestor.Deployment
	// Protections are those the deployment must satisfy: of the environment it was made for and of the one its app is in now.
	Protections []gestor.Protection
	// Approvals are those that count, the oldest first.
	Approvals []gestor.Approval
	// What names what is to be switched to. It is empty until the release is there.
	What string
	// Back is a rollback to what was live in the environment before: settings, variables and all.
	Back bool
}

// Read reads the case of a deployment. The view must see the app's tenant.
func Read(ctx context.Context, view *state.View, d gestor.Deployment, a gestor.App) (Case, error) {
	c := Case{Deployment: d}
	for _, environment := range concerned(d, a) {
		p, err := view.Protection(ctx, d.TenantID, environment)
		if err != nil {
			return Case{}, fmt.Errorf("read the protection of %s: %w", environment, err)
		}
		if !p.IsZero() {
			c.Protections = append(c.Protections, p)
		}
	}
	if len(c.Protections) == 0 {
		return c, nil
	}
	return c, c.read(ctx, view, a)
}

// concerned are the environments whose protection counts. An app that is moved while it is deployed must satisfy both.
func concerned(d gestor.Deployment, a gestor.App) []string {
	made, now := environment(d.Settings), environment(a.Settings)
	if made == now {
		return []string{now}
	}
	return []string{now, made}
}

func environment(s gestor.AppSettings) string {
	if s.Environment == "" {
		return gestor.DefaultEnvironment
	}
	return s.Environment
}

func (c *Case) read(ctx context.Context, view *state.View, a gestor.App) error {
	release, err := view.Release(ctx, c.Deployment.ReleaseID)
	if errors.Is(err, fault.KindNotFound) {
		return nil // it is being built
	}
	if err != nil {
		return err
	}
	c.What = What(c.Deployment, release)
	if c.Back, err = goesBack(ctx, view, c.Deployment, release); err != nil {
		return err
	}
	given, err := view.Approvals(ctx, c.Deployment.ID)
	if err != nil {
		return err
	}
	for _, given := range given {
		counts, err := c.counts(ctx, view, a, given)
		if err != nil {
			return err
		}
		if counts {
			c.Approvals = append(c.Approvals, given)
		}
	}
	return nil
}

// What names what a deployment would bring live: build, artifact, release, settings and variables.
func What(d gestor.Deployment, r gestor.Release) string {
	b, err := json.Marshal([]any{d.BuildID, r.ID, r.Artifact, d.EnvVersion, d.Settings})
	if err != nil {
		panic(fmt.Sprintf("settings are plain data: %v", err))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// counts reports whether an approval counts now.
func (c *Case) counts(ctx context.Context, view *state.View, a gestor.App, given gestor.Approval) (bool, error) {
	if given.What != c.What {
		return false, nil
	}
	person, err := view.User(ctx, given.UserID)
	if errors.Is(err, fault.KindNotFound) {
		return false, nil
	}
	return err == nil && MayApprove(c.Deployment, a, person) == nil, err
}

// Early reports whether preparing a host for a deployment runs what is deployed there already, with the variables of the app: a
// command before the switch, or the program itself. Then that needs what the switch needs.
func Early(d gestor.Deployment, r gestor.Release) bool {
	return d.Settings.PreSwitch != "" && !d.Rollback || r.Artifact.Kind == gestor.KindProcess
}

// MayApprove says why a person may not approve a deployment; nil if they may.
func MayApprove(d gestor.Deployment, a gestor.App, person gestor.User) error {
	switch {
	case person.TenantID != d.TenantID || !sees(person, d, a):
		return fault.NotFound("there is no deployment %q", d.ID)
	case person.Status != gestor.StatusActive:
		return fault.Denied("%s is %s", person.Email, person.Status).WithFix("ask somebody else to approve")
	case asked(d, person):
		return fault.Denied("%s asked for this deployment, and another person must approve it", person.Email).
			WithFix("ask somebody else with the role %s", roles(" or "))
	case !person.Role.Approves():
		return fault.Denied("the role %s may not approve deployments", person.Role).WithFix("ask somebody else with the role %s", roles(" or "))
	}
	return nil
}

func sees(person gestor.User, d gestor.Deployment, a gestor.App) bool {
	scope := gestor.TenantScope(person.TenantID).Within(person.Narrow)
	for _, environment := range concerned(d, a) {
		if !scope.Allows(a.ID, environment) {
			return false
		}
	}
	return true
}

// asked reports whether it was this person who asked for a deployment. Old deployments know the name only.
func asked(d gestor.Deployment, person gestor.User) bool {
	if d.AskedBy == "" {
		return d.CreatedBy == person.Email
	}
	return d.AskedBy == person.ID
}

func roles(between string) string {
	var names []string
	for _, r := range gestor.Approvers() {
		names = append(names, string(r))
	}
	return strings.Join(names, between)
}

// goesBack reports whether a deployment brings nothing that was not live in its environment before: a release that proved
// good there, with variables and settings that were live there with it, or are live now. Anything else that calls itself a
// rollback is a deployment like any other.
func goesBack(ctx context.Context, view *state.View, d gestor.Deployment, r gestor.Release) (bool, error) {
	if !d.Rollback || r.Status != gestor.ReleaseGood {
		return false, nil
	}
	before, ok, err := success(ctx, view, d, r.ID)
	if err != nil || !ok {
		return false, err
	}
	live, ok, err := success(ctx, view, d, d.PreviousRelease)
	if err != nil {
		return false, err
	}
	if !ok {
		live = before
	}
	variables := d.EnvVersion == before.EnvVersion || d.EnvVersion == live.EnvVersion
	settings := sameSettings(d.Settings, before.Settings) || sameSettings(d.Settings, live.Settings)
	return variables && settings, nil
}

// success is the latest deployment that made a release live in the environment of d, if it was there that it did.
func success(ctx context.Context, view *state.View, d gestor.Deployment, r gestor.ReleaseID) (gestor.Deployment, bool, error) {
	before, err := view.LastSuccess(ctx, d.AppID, r, d.ID)
	if errors.Is(err, fault.KindNotFound) {
		return before, false, nil
	}
	return before, err == nil && environment(before.Settings) == environment(d.Settings), err
}

// sameSettings compares what a rollback brings to the hosts. What only builds read does not reach them, and where an app
// runs is no matter of approvals.
func sameSettings(a, b gestor.AppSettings) bool { return reflect.DeepEqual(served(a), served(b)) }

func served(s gestor.AppSettings) gestor.AppSettings {
	s = s.WithDefaults()
	s.Name, s.Repository, s.Branch, s.Type, s.Root, s.BuildCommand, s.StartCommand, s.Output = "", "", "", "", "", "", "", ""
	s.Submodules, s.LFS, s.KnownHosts, s.BuildLimits, s.Keep, s.PreSwitch = false, false, "", gestor.Limits{}, 0, ""
	s.Nodes, s.Domains, s.Shared = nil, append([]string{}, s.Domains...), append([]string{}, s.Shared...)
	return s
}

// applies are the protections that hold this deployment.
func (c Case) applies() []gestor.Protection {
	var out []gestor.Protection
	for _, p := range c.Protections {
		if !c.Back || p.RollbackNeedsApproval {
			out = append(out, p)
		}
	}
	return out
}

// Needed is how many people must approve.
func (c Case) Needed() int {
	most := 0
	for _, p := range c.applies() {
		most = max(most, p.Needed())
	}
	return most
}

// Missing is how many people must still approve.
func (c Case) Missing() int { return max(0, c.Needed()-len(c.Approvals)) }

// JudgedBy names the protections by which freezes are judged; empty if there are none.
func (c Case) JudgedBy() string {
	var all []string
	for _, p := range c.applies() {
		if len(p.Freezes) > 0 && c.Deployment.Override.By == "" {
			all = append(all, fmt.Sprintf("%s@%d", p.Environment, p.Revision))
		}
	}
	return strings.Join(all, " ")
}
