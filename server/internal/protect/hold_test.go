package protect

import (
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func at(s string) time.Time {
	t, err := time.Parse("2006-01-02 15:04", s)
	if err != nil {
		panic(err)
	}
	return t
}

func blackFriday() gestor.Freeze {
	return gestor.Freeze{
		Name: "Black Friday", Reason: "no risk in sales", TimeZone: "America/Sao_Paulo", From: "2026-11-27", To: "2026-11-30 08:00",
	}
}

// nights is every night but that to Saturday, and weekends follow upon each other day by day.
func weekend() gestor.Freeze {
	return gestor.Freeze{Name: "Weekend", TimeZone: "America/Sao_Paulo", Days: []time.Weekday{time.Saturday, time.Sunday}, Start: "00:00", End: "24:00"}
}

func kase(needed int, freezes ...gestor.Freeze) Case {
	return Case{
		Deployment: gestor.Deployment{ID: "dep_1", CreatedBy: "ana@example.com"},
		Protections: []gestor.Protection{{
			Environment: "production", RequireApproval: needed > 0, Approvals: needed, Freezes: freezes, Revision: 7,
		}},
	}
}

func TestHold_SaysExactlyWhatItWaitsFor(t *testing.T) {
	approved := func(c Case, people ...string) Case {
		for _, p := range people {
			c.Approvals = append(c.Approvals, gestor.Approval{UserID: gestor.UserID(p), Name: p})
		}
		return c
	}
	back := kase(1, blackFriday())
	back.Back = true
	strict := kase(1, blackFriday())
	strict.Back, strict.Protections[0].RollbackNeedsApproval = true, true
	through := kase(0, blackFriday())
	through.Deployment.Override = gestor.Override{By: "eva@example.com"}
	for name, c := range map[string]struct {
		given Case
		now   string
		want  string
	}{
		"nothing protects it":     {Case{}, "2026-11-28 12:00", ""},
		"one approval":            {kase(1), "2026-11-28 12:00", "waits for the approval of one more person (asked by ana@example.com; may approve: admin, devops)"},
		"two approvals":           {kase(2), "2026-11-28 12:00", "waits for the approval of 2 more people (asked by ana@example.com; may approve: admin, devops)"},
		"one of two":              {approved(kase(2), "eva"), "2026-11-28 12:00", "waits for the approval of one more person (asked by ana@example.com; may approve: admin, devops)"},
		"both":                    {approved(kase(2), "eva", "bia"), "2026-11-28 12:00", ""},
		"before the freeze":       {kase(0, blackFriday()), "2026-11-27 02:59", ""},
		"in the freeze":           {kase(0, blackFriday()), "2026-11-27 03:00", "production is frozen until Mon 08:00 (America/Sao_Paulo): Black Friday, no risk in sales"},
		"at its end":              {kase(0, blackFriday()), "2026-11-30 11:00", ""},
		"freeze upon freeze":      {kase(0, weekend()), "2026-11-21 12:00", "production is frozen until Mon 00:00 (America/Sao_Paulo): Weekend"},
		"far away":                {kase(0, gestor.Freeze{Name: "Holidays", TimeZone: "UTC", From: "2026-12-18", To: "2027-01-03"}), "2026-12-20 12:00", "production is frozen until Mon 4 Jan 2027 00:00 (UTC): Holidays"},
		"for good":                {kase(0, gestor.Freeze{Name: "Moved", TimeZone: "UTC", Days: []time.Weekday{0, 1, 2, 3, 4, 5, 6}, Start: "00:00", End: "24:00"}), "2026-12-20 12:00", "production is frozen with no end in sight: Moved"},
		"both an approval and it": {kase(1, blackFriday()), "2026-11-28 12:00", "waits for the approval of one more person (asked by ana@example.com; may approve: admin, devops); production is frozen until Mon 08:00 (America/Sao_Paulo): Black Friday, no risk in sales"},
		"a way back":              {back, "2026-11-28 12:00", ""},
		"a way back that waits":   {strict, "2026-11-30 12:00", "waits for the approval of one more person (asked by ana@example.com; may approve: admin, devops)"},
		"an override":             {through, "2026-11-28 12:00", ""},
	} {
		if got := c.given.Hold(at(c.now)); got.Reason != c.want || got.Waits() != (c.want != "") {
			t.Errorf("%s:\n got %q\nwant %q", name, got.Reason, c.want)
		}
	}
}

func TestHold_SaysWhenToLookAgain(t *testing.T) {
	asked := kase(1, blackFriday())
	asked.Deployment.ApprovalAskedAt = at("2026-11-22 12:00")
	for name, c := range map[string]struct {
		given     Case
		now, want string
	}{
		"before a freeze":                 {kase(0, blackFriday()), "2026-11-20 00:00", "2026-11-27 03:00"},
		"at the end of a freeze":          {kase(0, blackFriday()), "2026-11-28 00:00", "2026-11-30 11:00"},
		"at the end of all that follow":   {kase(0, weekend()), "2026-11-28 12:00", "2026-11-30 03:00"},
		"when nobody approves in time":    {asked, "2026-11-27 12:00", "2026-11-29 12:00"},
		"at the next freeze, when asking": {asked, "2026-11-25 12:00", "2026-11-27 03:00"},
	} {
		if got := c.given.Hold(at(c.now)).Next; !got.Equal(at(c.want)) {
			t.Errorf("%s: got %s, want %s", name, got, c.want)
		}
	}
	if got := kase(1).Hold(at("2026-11-28 12:00")).Next; !got.IsZero() {
		t.Errorf("nothing comes by itself, but it is looked at again %s", got)
	}
}

func TestJudgedBy_NamesTheProtectionsWithFreezesThatBind(t *testing.T) {
	c := kase(1, blackFriday())
	c.Protections = append(c.Protections, gestor.Protection{Environment: "staging", Freezes: []gestor.Freeze{weekend()}, Revision: 9})
	if got := c.JudgedBy(); got != "production@7 staging@9" {
		t.Errorf("got %q", got)
	}
	c.Deployment.Override.By = "eva@example.com"
	if got := c.JudgedBy() + kase(1).JudgedBy() + (Case{}).JudgedBy(); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestMayApprove_SaysWhyNotAndWhoMay(t *testing.T) {
	d := gestor.Deployment{ID: "dep_1", TenantID: "ten_1", AskedBy: "usr_ana"}
	a := gestor.App{ID: "app_1", TenantID: "ten_1"}
	eva := gestor.User{ID: "usr_eva", TenantID: "ten_1", Email: "eva@example.com", Status: gestor.StatusActive, Role: gestor.RoleDevOps}
	change := func(f func(*gestor.User)) gestor.User {
		u := eva
		f(&u)
		return u
	}
	for name, c := range map[string]struct {
		person gestor.User
		says   string
	}{
		"a devops":             {eva, ""},
		"of another tenant":    {change(func(u *gestor.User) { u.TenantID = "ten_2" }), "no deployment"},
		"of other apps":        {change(func(u *gestor.User) { u.Narrow.Apps = []gestor.AppID{"app_2"} }), "no deployment"},
		"of this app":          {change(func(u *gestor.User) { u.Narrow.Apps = []gestor.AppID{"app_1"} }), ""},
		"of production":        {change(func(u *gestor.User) { u.Narrow.Environments = []string{"production"} }), ""},
		"of staging":           {change(func(u *gestor.User) { u.Narrow.Environments = []string{"staging"} }), "no deployment"},
		"blocked":              {change(func(u *gestor.User) { u.Status = gestor.StatusBlocked }), "is blocked"},
		"a developer":          {change(func(u *gestor.User) { u.Role = gestor.RoleDeveloper }), "admin or devops"},
		"the one who asked":    {change(func(u *gestor.User) { u.ID = "usr_ana" }), "another person"},
		"nobody in particular": {gestor.User{}, "no deployment"},
	} {
		err := MayApprove(d, a, c.person)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
	old := d
	old.AskedBy, old.CreatedBy = "", eva.Email
	if MayApprove(old, a, eva) == nil {
		t.Error("who asked for a deployment before people had ids there may approve it")
	}
}

// What a deployment brings live is all of it, whatever the settings will be called.
func TestWhat_IsAnotherForEveryChange(t *testing.T) {
	d := gestor.Deployment{BuildID: "bld_1", EnvVersion: 1}
	r := gestor.Release{ID: "rel_1", Artifact: gestor.Artifact{Digest: "d1"}}
	seen := map[string]bool{What(d, r): true}
	for _, change := range []func(*gestor.Deployment, *gestor.Release){
		func(d *gestor.Deployment, _ *gestor.Release) { d.BuildID = "bld_2" },
		func(d *gestor.Deployment, _ *gestor.Release) { d.EnvVersion = 2 },
		func(d *gestor.Deployment, _ *gestor.Release) { d.Settings.PostSwitch = "true" },
		func(_ *gestor.Deployment, r *gestor.Release) { r.ID = "rel_2" },
		func(_ *gestor.Deployment, r *gestor.Release) { r.Artifact.Digest = "d2" },
	} {
		d, r := d, r
		change(&d, &r)
		what := What(d, r)
		if seen[what] {
			t.Errorf("a change left what is approved as it was: %+v %+v", d, r)
		}
		seen[what] = true
	}
	if d.State = gestor.DeploymentPreparing; !seen[What(d, r)] {
		t.Error("what is approved is another because the deployment went on")
	}
}
