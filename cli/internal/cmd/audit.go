package cmd

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type auditOptions struct {
	from, to, actor, action, object, severity, token, outcome string

	all    bool
	tenant string
	last   int
	follow bool
}

func (r *run) auditCmd() *cobra.Command {
	c := r.auditListCmd()
	c.Use, c.Aliases, c.Short = "audit", nil, "Who did what: list, check and export the audit log"
	c.AddCommand(r.auditListCmd(), r.auditVerifyCmd(), r.auditExportCmd(), r.auditArchivesCmd())
	return c
}

func (r *run) auditListCmd() *cobra.Command {
	var o auditOptions
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the audit log", Args: cobra.NoArgs,
		Long: `List the audit log, the newest last. Secrets are not in it: where one was set it shows •••.

With --all, operators see the installation and all tenants: of other tenants who did what when, and no more.`,
		Example: `  gestor audit
  gestor audit --action app. --actor ana@example.com --from 2026-11-01
  gestor audit --severity warning --follow
  gestor audit --object app_… --json`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error { return r.audit(ctx, conn, o) }),
	}
	o.flags(c)
	f := c.Flags()
	f.IntVarP(&o.last, "last", "n", 50, "show so many; 0 for all")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	c.MarkFlagsMutuallyExclusive("follow", "all")
	c.MarkFlagsMutuallyExclusive("follow", "to")
	return c
}

// flags adds what chooses entries.
func (o *auditOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.from, "from", "", "not before: 2026-11-24, 2026-11-24T10:00:00Z, or 24h for so long ago")
	f.StringVar(&o.to, "to", "", "before, written likewise")
	f.StringVar(&o.actor, "actor", "", "who: an id, an address or a name")
	f.StringVar(&o.action, "action", "", "what, or how it begins: app. for all about apps")
	f.StringVar(&o.object, "object", "", "the id of what it was done to")
	f.StringVar(&o.severity, "severity", "", "at least: info, notice, warning, critical")
	f.StringVar(&o.token, "token", "", "the token it came through")
	f.StringVar(&o.outcome, "outcome", "", "done or refused")
	f.BoolVar(&o.all, "all", false, "of the installation and all tenants, for operators")
	f.StringVar(&o.tenant, "tenant", "", "with --all: only of this tenant, by id")
	_ = c.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions([]string{"info", "notice", "warning", "critical"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("outcome", cobra.FixedCompletions([]string{"done", "refused"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("action", cobra.NoFileCompletions)
}

func (o *auditOptions) filter(now time.Time) (*gestorv1.AuditFilter, error) {
	if o.tenant != "" && !o.all {
		return nil, fault.Invalid("--tenant", "it is for operators, with --all")
	}
	f := &gestorv1.AuditFilter{Actor: o.actor, Action: o.action, Object: o.object, TokenId: o.token}
	var err error
	if f.From, err = auditTime("--from", o.from, now); err != nil {
		return nil, err
	}
	if f.To, err = auditTime("--to", o.to, now); err != nil {
		return nil, err
	}
	severity, known := gestorv1.AuditSeverity_value["AUDIT_SEVERITY_"+strings.ToUpper(o.severity)]
	if o.severity != "" && !known {
		return nil, fault.Invalid("--severity", "%q is none", o.severity).WithFix("write info, notice, warning or critical")
	}
	outcome, known := gestorv1.AuditOutcome_value["AUDIT_OUTCOME_"+strings.ToUpper(o.outcome)]
	if o.outcome != "" && !known {
		return nil, fault.Invalid("--outcome", "%q is none", o.outcome).WithFix("write done or refused")
	}
	f.Severity, f.Outcome = gestorv1.AuditSeverity(severity), gestorv1.AuditOutcome(outcome)
	return f, nil
}

// auditTime reads a day, a time, or how long ago.
func auditTime(flag, text string, now time.Time) (*timestamppb.Timestamp, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // not given
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return timestamppb.New(now.Add(-ago)), nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339, "2006-01-02 15:04"} {
		if at, err := time.ParseInLocation(form, text, time.Local); err == nil { //nolint:gosmopolitan // people write the time of their place
			return timestamppb.New(at), nil
		}
	}
	return nil, fault.Invalid(flag, "%q is no time", text).WithFix("write 2026-11-24, 2026-11-24T10:00:00Z, or 24h for so long ago")
}

func (r *run) audit(ctx context.Context, conn *client.Client, o auditOptions) error {
	filter, err := o.filter(r.env.Now())
	if err != nil {
		return err
	}
	if o.follow {
		return r.followAudit(ctx, conn, filter, int32(min(max(o.last, 0), pageSize)))
	}
	entries, err := collect(o.last, func(p *gestorv1.PageRequest) ([]*gestorv1.AuditEntry, *gestorv1.PageResponse, error) {
		if o.all {
			res, err := conn.Audit().ListPlatformAudit(ctx, &gestorv1.ListPlatformAuditRequest{Filter: filter, TenantId: o.tenant, Page: p})
			return res.GetEntries(), res.GetPage(), err
		}
		res, err := conn.Audit().ListAudit(ctx, &gestorv1.ListAuditRequest{Filter: filter, Page: p})
		return res.GetEntries(), res.GetPage(), err
	})
	if err != nil {
		return err
	}
	slices.Reverse(entries)
	if r.out.JSON {
		return r.out.Object(&gestorv1.ListAuditResponse{Entries: entries})
	}
	t := output.NewTable("SEQ", "TIME", "SEVERITY", "WHO", "ACTION", "OBJECT", "WHAT")
	for _, e := range entries {
		t.Row(auditCells(r, e)...)
	}
	r.out.Table(t, "there are no such entries")
	return nil
}

func auditCells(r *run, e *gestorv1.AuditEntry) []any {
	return []any{
		strconv.FormatInt(e.GetSeq(), 10), auditClock(e), r.auditSeverity(e), auditWho(e), e.GetAction(), e.GetObject(), auditWhat(e),
	}
}

func auditClock(e *gestorv1.AuditEntry) string {
	return e.GetAt().AsTime().In(time.Local).Format(time.DateTime) //nolint:gosmopolitan // people read the time of their place
}

func (r *run) auditSeverity(e *gestorv1.AuditEntry) output.Styled {
	word := output.Enum(e.GetSeverity(), "AUDIT_SEVERITY_")
	switch e.GetSeverity() {
	case gestorv1.AuditSeverity_AUDIT_SEVERITY_CRITICAL:
		return r.out.Paint(output.Red, word)
	case gestorv1.AuditSeverity_AUDIT_SEVERITY_WARNING:
		return r.out.Paint(output.Yellow, word)
	case gestorv1.AuditSeverity_AUDIT_SEVERITY_UNSPECIFIED:
		return ""
	case gestorv1.AuditSeverity_AUDIT_SEVERITY_INFO, gestorv1.AuditSeverity_AUDIT_SEVERITY_NOTICE:
	}
	return output.Styled(word)
}

func auditWho(e *gestorv1.AuditEntry) string {
	a := e.GetActor()
	for _, name := range []string{a.GetName(), a.GetId(), a.GetAddress()} {
		if name != "" {
			if a.GetTokenId() != "" {
				return name + " (" + a.GetTokenId() + ")"
			}
			return name
		}
	}
	return a.GetKind()
}

// auditWhat is what changed in one line, "port: 80 → 8080", or why it was refused.
func auditWhat(e *gestorv1.AuditEntry) string {
	before, after, detail := object(e.GetBefore()), object(e.GetAfter()), object(e.GetDetail())
	var parts []string
	switch {
	case e.GetMasked():
		return "(of another tenant)"
	case e.GetOutcome() == gestorv1.AuditOutcome_AUDIT_OUTCOME_REFUSED && detail["refused"] != nil:
		return text(detail["refused"])
	case before != nil && after != nil:
		for _, key := range slices.Sorted(maps.Keys(after)) {
			parts = append(parts, key+": "+text(before[key])+" → "+text(after[key]))
		}
	case len(detail) > 0:
		for _, key := range slices.Sorted(maps.Keys(detail)) {
			parts = append(parts, key+": "+text(detail[key]))
		}
	}
	return output.Cut(strings.Join(parts, ", "), 100)
}

func object(raw string) map[string]any {
	var m map[string]any
	if json.Unmarshal([]byte(raw), &m) != nil {
		return nil
	}
	return m
}

// text is a value of an entry as people read it.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "–"
	case string:
		if v == "" {
			return "–"
		}
		return v
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(b)
}

// followAudit prints entries as they are written. Each comes once, whatever the connection does.
func (r *run) followAudit(ctx context.Context, conn *client.Client, filter *gestorv1.AuditFilter, last int32) error {
	var after int64
	f := &client.Follow[gestorv1.WatchAuditResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.WatchAuditResponse], error) {
			return conn.Audit().WatchAudit(ctx, &gestorv1.WatchAuditRequest{Filter: filter, Last: last, AfterSeq: after})
		},
		Each: func(m *gestorv1.WatchAuditResponse) error {
			for _, e := range m.GetEntries() {
				after = max(after, e.GetSeq())
			}
			return r.showFollowed(m)
		},
		Broken: func(error) { r.out.Notef("connection lost, reconnecting") },
		Back:   func() { r.out.Notef("reconnected") },
		Grace:  grace(conn),
	}
	return f.Run(ctx)
}

func (r *run) showFollowed(m *gestorv1.WatchAuditResponse) error {
	for _, e := range m.GetEntries() {
		if r.out.JSON {
			if err := r.out.Event(e); err != nil {
				return err
			}
			continue
		}
		r.out.Linef("%s  %s  %s  %s  %s  %s", auditClock(e), r.auditSeverity(e), auditWho(e), e.GetAction(), e.GetObject(), auditWhat(e))
	}
	return nil
}
