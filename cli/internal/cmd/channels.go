package cmd

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) channelsCmd() *cobra.Command {
	return noun("channels", "The ways by which events reach people", []string{"channel"},
		r.channelsListCmd(), r.channelsAddCmd(), r.channelsSetCmd(), r.channelsTestCmd(), r.channelsRemoveCmd(), r.channelsDeliveriesCmd(), r.channelsRetryCmd())
}

func (r *run) channelsListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the channels and how they do", Args: cobra.NoArgs,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Channels().ListChannels(ctx, &gestorv1.ListChannelsRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			t := output.NewTable("NAME", "KIND", "TO", "EVENTS", "LAST SENT", "WAITING", "FAILED", "LAST ERROR")
			for _, ch := range res.GetChannels() {
				t.Row(ch.GetSettings().GetName(), channelKind(ch), ch.GetTarget(), rulesText(ch), r.out.Ago(ch.GetSentAt()),
					number(int(ch.GetQueued())), number(int(ch.GetFailed())), ch.GetError())
			}
			r.out.Table(t, "no channel yet; make one with: gestor channels add email <name> --to <address>")
			if !res.GetMail() {
				r.out.Notef("this installation has no mail server: channels of e-mail send nothing")
			}
			return nil
		}),
	}
}

func channelKind(ch *gestorv1.Channel) string {
	kind := output.Enum(ch.GetKind(), "CHANNEL_KIND_")
	if ch.GetSettings().GetDisabled() {
		kind += ", off"
	}
	return kind
}

// rulesText is which events go through a channel.
func rulesText(ch *gestorv1.Channel) string {
	s := ch.GetSettings()
	parts := []string{"all"}
	if s.GetSeverity() > gestorv1.EventSeverity_EVENT_SEVERITY_INFO {
		parts = []string{"from " + output.Enum(s.GetSeverity(), "EVENT_SEVERITY_")}
	}
	if len(s.GetKinds()) > 0 {
		parts = append(parts, strings.Join(s.GetKinds(), " "))
	}
	if only := append(append([]string{}, s.GetApps()...), s.GetEnvironments()...); len(only) > 0 {
		parts = append(parts, "of "+strings.Join(only, " "))
	}
	if q := s.GetQuiet(); q != nil {
		parts = append(parts, "quiet "+quietText(q))
	}
	if s.GetInstallation() {
		parts = append(parts, "installation too")
	}
	return strings.Join(parts, ", ")
}

func (r *run) channelsTestCmd() *cobra.Command {
	return &cobra.Command{
		Use: "test <channel>", Short: "Send a test message now, and say what came of it", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeChannels,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Channels().TestChannel(ctx, &gestorv1.TestChannelRequest{Channel: args[0], RequestId: requestID()})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			if !res.GetSent() {
				return failed("the test message was not taken: %s", res.GetError())
			}
			r.out.Linef("the test message was taken")
			return nil
		}),
	}
}

func (r *run) channelsRemoveCmd() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use: "remove <channel>", Aliases: []string{"rm"}, Short: "Remove a channel, with what waits in it", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeChannels,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			if !yes {
				if err := r.confirm("Remove the channel "+args[0]+", with what waits in it?", "--yes"); err != nil {
					return err
				}
			}
			res, err := conn.Channels().DeleteChannel(ctx, &gestorv1.DeleteChannelRequest{Channel: args[0], RequestId: requestID()})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("the channel %s is removed", args[0])
			return nil
		}),
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

func (r *run) channelsDeliveriesCmd() *cobra.Command {
	var state string
	var limit int
	c := &cobra.Command{
		Use: "deliveries [channel]", Short: "What was sent or waits to be, newest first", Args: cobra.MaximumNArgs(1), ValidArgsFunction: r.completeChannels,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			wanted := gestorv1.DeliveryState(gestorv1.DeliveryState_value["DELIVERY_STATE_"+strings.ToUpper(state)])
			if state != "" && wanted == gestorv1.DeliveryState_DELIVERY_STATE_UNSPECIFIED {
				return fault.Invalid("state", "there is no state %q", state).WithFix("use queued, sent, failed or dropped")
			}
			found, err := collect(limit, func(p *gestorv1.PageRequest) ([]*gestorv1.Delivery, *gestorv1.PageResponse, error) {
				res, err := conn.Channels().ListDeliveries(ctx, &gestorv1.ListDeliveriesRequest{Channel: optional(args), State: wanted, Page: p})
				return res.GetDeliveries(), res.GetPage(), err
			})
			if err != nil {
				return err
			}
			return r.showDeliveries(found)
		}),
	}
	c.Flags().StringVar(&state, "state", "", "only queued, sent, failed or dropped")
	c.Flags().IntVar(&limit, "limit", 50, "how many; 0 for all")
	_ = c.RegisterFlagCompletionFunc("state", cobra.FixedCompletions([]string{"queued", "sent", "failed", "dropped"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func (r *run) showDeliveries(found []*gestorv1.Delivery) error {
	if r.out.JSON {
		return r.out.Object(&gestorv1.ListDeliveriesResponse{Deliveries: found})
	}
	t := output.NewTable("WHEN", "STATE", "TRIES", "WHAT", "NEXT", "ERROR", "ID")
	for _, d := range found {
		what := d.GetEvent().GetTitle()
		if d.GetMore() > 0 {
			what += " and " + number(int(d.GetMore())) + " more"
		}
		t.Row(r.out.Ago(d.GetCreatedAt()), output.Enum(d.GetState(), "DELIVERY_STATE_"), number(int(d.GetAttempts())), what, r.out.Ago(d.GetNextAt()), d.GetError(), d.GetId())
	}
	r.out.Table(t, "nothing was sent")
	return nil
}

func (r *run) channelsRetryCmd() *cobra.Command {
	return &cobra.Command{
		Use: "retry <delivery>", Short: "Send a message that failed again", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeFailed,
		RunE: r.with(func(ctx context.Context, conn *client.Client, args []string) error {
			res, err := conn.Channels().RetryDelivery(ctx, &gestorv1.RetryDeliveryRequest{Id: args[0], RequestId: requestID()})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			r.out.Linef("%s is sent again", args[0])
			return nil
		}),
	}
}

func (r *run) completeChannels(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Channels().ListChannels(ctx, &gestorv1.ListChannelsRequest{})
		var names []string
		for _, ch := range res.GetChannels() {
			names = append(names, output.Clean(ch.GetSettings().GetName()))
		}
		return names, err
	})
}

func (r *run) completeFailed(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return r.complete(c, func(ctx context.Context, conn *client.Client) ([]string, error) {
		res, err := conn.Channels().ListDeliveries(ctx, &gestorv1.ListDeliveriesRequest{State: gestorv1.DeliveryState_DELIVERY_STATE_FAILED})
		var ids []string
		for _, d := range res.GetDeliveries() {
			ids = append(ids, d.GetId()+"\t"+output.Clean(d.GetEvent().GetTitle()))
		}
		return ids, err
	})
}
