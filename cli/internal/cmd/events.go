package cmd

import (
	"context"
	"fmt"
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

type eventOptions struct {
	severity, kind, app string
	unread, follow      bool
	since               time.Duration
	limit               int
}

func (r *run) eventsCmd() *cobra.Command {
	c := r.eventsListCmd()
	c.Use, c.Aliases, c.Short = "events", nil, "What happened that people want to hear of"
	c.AddCommand(r.eventsListCmd(), r.eventsReadCmd())
	return c
}

func (r *run) eventsListCmd() *cobra.Command {
	var o eventOptions
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the events, newest first", Args: cobra.NoArgs,
		Long: `Show events: nodes and servers that were lost or came back, deployments that ended, what fails or needs somebody.

Events are read for yourself alone. Operators see those of the installation too, marked with *.`,
		Example: `  gestor events --unread
  gestor events --follow --severity error
  gestor events read --all`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			filter, err := r.eventFilter(o)
			if err != nil {
				return err
			}
			if o.follow {
				return r.followEvents(ctx, conn, filter, o)
			}
			return r.listEvents(ctx, conn, filter, o.limit)
		}),
	}
	f := c.Flags()
	f.StringVar(&o.severity, "severity", "", "no less than info, warning, error or critical")
	f.StringVar(&o.kind, "kind", "", "kinds that begin with this, such as node or deployment.failed")
	f.StringVar(&o.app, "app", "", "about this app")
	f.BoolVar(&o.unread, "unread", false, "only what you have not read")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	f.DurationVar(&o.since, "since", 0, "no older than this, such as 24h")
	f.IntVar(&o.limit, "limit", 50, "how many; 0 for all")
	_ = c.RegisterFlagCompletionFunc("severity", cobra.FixedCompletions(severities(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("app", r.completeApps)
	return c
}

func severities() []string { return []string{"info", "warning", "error", "critical"} }

func severityIn(field, name string) (gestorv1.EventSeverity, error) {
	if name == "" {
		return gestorv1.EventSeverity_EVENT_SEVERITY_UNSPECIFIED, nil
	}
	s := gestorv1.EventSeverity(gestorv1.EventSeverity_value["EVENT_SEVERITY_"+strings.ToUpper(name)])
	if s == gestorv1.EventSeverity_EVENT_SEVERITY_UNSPECIFIED {
		return s, fault.Invalid(field, "there is no severity %q", name).WithFix("use %s", strings.Join(severities(), ", "))
	}
	return s, nil
}

func (r *run) eventFilter(o eventOptions) (*gestorv1.EventFilter, error) {
	severity, err := severityIn("severity", o.severity)
	if err != nil {
		return nil, err
	}
	f := &gestorv1.EventFilter{Severity: severity, Kind: o.kind, App: o.app, Unread: o.unread}
	if o.since > 0 {
		f.Since = timestamppb.New(r.env.Now().Add(-o.since))
	}
	return f, nil
}

func (r *run) listEvents(ctx context.Context, conn *client.Client, filter *gestorv1.EventFilter, limit int) error {
	events, err := collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Event, *gestorv1.PageResponse, error) {
		res, err := conn.Events().ListEvents(ctx, &gestorv1.ListEventsRequest{Filter: filter, Page: p})
		return res.GetEvents(), res.GetPage(), err
	})
	if err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Object(&gestorv1.ListEventsResponse{Events: events})
	}
	t := output.NewTable("", "WHEN", "SEVERITY", "KIND", "WHAT", "ID")
	for _, e := range events {
		t.Row(mark(e), r.out.Ago(e.GetLastAt()), r.severity(e), e.GetKind(), eventText(e), e.GetId())
	}
	r.out.Table(t, "no events")
	return nil
}

// mark tells apart what was not read, and what is of the installation.
func mark(e *gestorv1.Event) string {
	m := " "
	if !e.GetRead() {
		m = "•"
	}
	if e.GetInstallation() {
		m += "*"
	}
	return m
}

func (r *run) severity(e *gestorv1.Event) any {
	name := output.Enum(e.GetSeverity(), "EVENT_SEVERITY_")
	switch e.GetSeverity() {
	case gestorv1.EventSeverity_EVENT_SEVERITY_ERROR, gestorv1.EventSeverity_EVENT_SEVERITY_CRITICAL:
		return r.out.Paint(output.Red, name)
	case gestorv1.EventSeverity_EVENT_SEVERITY_WARNING:
		return r.out.Paint(output.Yellow, name)
	case gestorv1.EventSeverity_EVENT_SEVERITY_INFO, gestorv1.EventSeverity_EVENT_SEVERITY_UNSPECIFIED:
	}
	return name
}

func eventText(e *gestorv1.Event) string {
	if e.GetCount() > 1 {
		return fmt.Sprintf("%s (%d times)", e.GetTitle(), e.GetCount())
	}
	return e.GetTitle()
}

// followEvents prints what there is and what comes, each event once for each time it changes, but for being read.
func (r *run) followEvents(ctx context.Context, conn *client.Client, filter *gestorv1.EventFilter, o eventOptions) error {
	var after uint64
	shown := map[string]int64{} // how often it had happened when it was shown
	f := &client.Follow[gestorv1.WatchEventsResponse]{
		Open: func(ctx context.Context) (*connect.ServerStreamForClient[gestorv1.WatchEventsResponse], error) {
			return conn.Events().WatchEvents(ctx, &gestorv1.WatchEventsRequest{Filter: filter, AfterRevision: after, Newest: int32(min(max(o.limit, 0), pageSize))})
		},
		Each: func(m *gestorv1.WatchEventsResponse) error {
			after = max(after, m.GetRevision())
			if r.out.JSON {
				return r.out.Event(m)
			}
			for _, e := range m.GetEvents() {
				if shown[e.GetId()] >= e.GetCount() || o.unread && e.GetRead() {
					continue
				}
				shown[e.GetId()] = e.GetCount()
				r.out.Linef("%s  %s  %s  %s", e.GetLastAt().AsTime().Format("2006-01-02 15:04:05"), r.severity(e), e.GetKind(), eventText(e))
			}
			return nil
		},
		Whole:  func() bool { return false },
		Broken: func(error) { r.out.Notef("connection lost, reconnecting") },
		Back:   func() { r.out.Notef("reconnected") },
		Grace:  grace(conn),
	}
	return cause(ctx, f.Run(ctx))
}

func (r *run) eventsReadCmd() *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: "read [id]...", Short: "Mark events as read, by you", ValidArgsFunction: r.completeEvents,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			req := &gestorv1.MarkReadRequest{Ids: args, RequestId: requestID()}
			if all == (len(args) > 0) {
				return fault.Invalid("id", "name events, or all of them").WithFix("gestor events read --all")
			}
			if all {
				newest, err := conn.Events().ListEvents(ctx, &gestorv1.ListEventsRequest{Page: &gestorv1.PageRequest{Size: 1}})
				if err != nil {
					return err
				}
				if len(newest.GetEvents()) == 0 {
					r.out.Linef("there are no events")
					return nil
				}
				req.UpTo = newest.GetEvents()[0].GetId()
			}
			res, err := conn.Events().MarkRead(ctx, req)
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			u := res.GetUnread()
			r.out.Linef("%d events are unread", u.GetInfo()+u.GetWarning()+u.GetError()+u.GetCritical())
			return nil
		}),
	}
	c.Flags().BoolVar(&all, "all", false, "all there are")
	return c
}

// completeEvents completes the ids of events that were not read.
func (r *run) completeEvents(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Events().ListEvents(ctx, &gestorv1.ListEventsRequest{Filter: &gestorv1.EventFilter{Unread: true}})
		var ids []string
		for _, e := range res.GetEvents() {
			ids = append(ids, e.GetId()+"\t"+output.Clean(e.GetTitle()))
		}
		return ids, err
	})
}
