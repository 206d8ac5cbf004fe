package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type channelOptions struct {
	name, to, severity, secretFile, quiet string
	kinds, apps, environments             []string
	repeat                                time.Duration
	off, on, installation, critical       bool
}

func (o *channelOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.to, "to", "", "where it leads: an address of e-mail, the URL of a webhook, a chat of Telegram")
	f.StringVar(&o.secretFile, "secret-file", "", "file with what is secret of it: the URL of Slack or Discord, the token of a Telegram bot, a key that signs webhooks")
	f.StringVar(&o.severity, "severity", "", "no less than info, warning, error or critical")
	f.StringSliceVar(&o.kinds, "kind", nil, "only kinds that begin with this; may be repeated, \"\" for all")
	f.StringSliceVar(&o.apps, "app", nil, "only events of this app; may be repeated, \"\" for all")
	f.StringSliceVar(&o.environments, "environment", nil, "only events of apps of this environment; may be repeated, \"\" for all")
	f.StringVar(&o.quiet, "quiet", "", `when nothing is sent: "22:00-07:00 Europe/Berlin", "mon,tue 12:00-13:00 UTC"; "none" for never`)
	f.BoolVar(&o.critical, "critical-passes", true, "let critical events through quiet hours")
	f.DurationVar(&o.repeat, "repeat", 15*time.Minute, "do not tell the same thing again for this long; 0 tells it every time")
	f.BoolVar(&o.installation, "installation", false, "tell of the installation too; for operators")
}

func (r *run) channelsAddCmd() *cobra.Command {
	var o channelOptions
	kinds := []string{"email", "webhook", "slack", "discord", "telegram"}
	c := &cobra.Command{
		Use: "add <kind> <name>", Short: "Make a channel: email, webhook, slack, discord or telegram", Args: cobra.ExactArgs(2),
		Long: `Make a channel. What is secret of it is read from a file or asked for, and never shown again.

A webhook gets a key that signs its messages, which is shown once. How to check signatures: docs/notifications.md.`,
		Example: `  gestor channels add email ops --to ops@example.com --severity error
  gestor channels add webhook pager --to https://pager.example.com/gestor --kind node --kind server
  gestor channels add slack chat --secret-file slack-url.txt --quiet "22:00-07:00 Europe/Berlin"`,
		ValidArgsFunction: cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp),
	}
	o.register(c.Flags())
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		kind := gestorv1.ChannelKind(gestorv1.ChannelKind_value["CHANNEL_KIND_"+strings.ToUpper(args[0])])
		if kind == gestorv1.ChannelKind_CHANNEL_KIND_UNSPECIFIED {
			return fault.Invalid("kind", "there is no kind %q", args[0]).WithFix("use %s", strings.Join(kinds, ", "))
		}
		settings := &gestorv1.ChannelSettings{Name: args[1]}
		if err := o.apply(settings, c.Flags()); err != nil {
			return err
		}
		secret, err := r.channelSecret(kind, o.secretFile)
		if err != nil {
			return err
		}
		res, err := conn.Channels().CreateChannel(ctx, &gestorv1.CreateChannelRequest{Kind: kind, Settings: settings, Secret: secret, RequestId: requestID()})
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showChannel(res.GetChannel())
		if res.GetSigningKey() != "" {
			r.out.Linef("signing key: %s", res.GetSigningKey())
			r.out.Notef("it is shown this once; the receiver checks signatures with it")
		}
		r.out.Notef("try it out: gestor channels test %s", args[1])
		return nil
	})
	return c
}

// channelSecret reads what is secret of a new channel, or asks for it where there must be something.
func (r *run) channelSecret(kind gestorv1.ChannelKind, file string) (string, error) {
	if file != "" {
		return readLine(r.path(file))
	}
	switch kind {
	case gestorv1.ChannelKind_CHANNEL_KIND_SLACK, gestorv1.ChannelKind_CHANNEL_KIND_DISCORD, gestorv1.ChannelKind_CHANNEL_KIND_TELEGRAM:
		return "", fault.Invalid("secret-file", "this kind of channel has a secret").WithFix("write it into a file and add --secret-file <file>")
	case gestorv1.ChannelKind_CHANNEL_KIND_EMAIL, gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK, gestorv1.ChannelKind_CHANNEL_KIND_UNSPECIFIED:
	}
	return "", nil
}

func (r *run) channelsSetCmd() *cobra.Command {
	var o channelOptions
	c := &cobra.Command{
		Use: "set <channel>", Short: "Change a channel; what is not named stays", Args: cobra.ExactArgs(1), ValidArgsFunction: r.completeChannels,
		Example: `  gestor channels set ops --severity critical
  gestor channels set chat --off
  gestor channels set chat --secret-file new-url.txt`,
	}
	f := c.Flags()
	o.register(f)
	f.StringVar(&o.name, "name", "", "give it another name")
	f.BoolVar(&o.off, "off", false, "send nothing through it")
	f.BoolVar(&o.on, "on", false, "send through it again")
	c.MarkFlagsMutuallyExclusive("on", "off")
	c.RunE = r.with(func(ctx context.Context, conn *client.Client, args []string) error {
		now, err := conn.Channels().GetChannel(ctx, &gestorv1.GetChannelRequest{Channel: args[0]})
		if err != nil {
			return err
		}
		settings := now.GetChannel().GetSettings()
		if err := o.apply(settings, f); err != nil {
			return err
		}
		req := &gestorv1.UpdateChannelRequest{
			Channel: now.GetChannel().GetId(), Settings: settings, ExpectedRevision: now.GetChannel().GetRevision(), RequestId: requestID(),
		}
		if o.secretFile != "" {
			if req.Secret, err = readLine(r.path(o.secretFile)); err != nil {
				return err
			}
		}
		res, err := conn.Channels().UpdateChannel(ctx, req)
		if err != nil {
			return err
		}
		if r.out.JSON {
			return r.out.Object(res)
		}
		r.showChannel(res.GetChannel())
		return nil
	})
	return c
}

// apply does to the settings of a channel what was given.
func (o *channelOptions) apply(s *gestorv1.ChannelSettings, f *pflag.FlagSet) error {
	if f.Changed("to") {
		s.Address = o.to
	}
	if o.name != "" {
		s.Name = o.name
	}
	if f.Changed("severity") {
		severity, err := severityIn("severity", o.severity)
		if err != nil {
			return err
		}
		s.Severity = severity
	}
	for flag, list := range map[string]struct {
		to    *[]string
		given []string
	}{"kind": {&s.Kinds, o.kinds}, "app": {&s.Apps, o.apps}, "environment": {&s.Environments, o.environments}} {
		if f.Changed(flag) {
			*list.to = withoutEmpty(list.given)
		}
	}
	if f.Changed("repeat") {
		s.Repeat = durationpb.New(o.repeat)
	}
	if f.Changed("installation") {
		s.Installation = o.installation
	}
	s.Disabled = (s.GetDisabled() || o.off) && !o.on
	return o.applyQuiet(s, f)
}

func (o *channelOptions) applyQuiet(s *gestorv1.ChannelSettings, f *pflag.FlagSet) error {
	if f.Changed("quiet") {
		quiet, err := parseQuiet(o.quiet)
		if err != nil {
			return err
		}
		s.Quiet = quiet
	}
	if s.GetQuiet() != nil && (f.Changed("quiet") || f.Changed("critical-passes")) {
		s.Quiet.CriticalPasses = o.critical
	}
	return nil
}

func withoutEmpty(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (r *run) showChannel(ch *gestorv1.Channel) {
	s := ch.GetSettings()
	r.out.Fields(
		[2]any{"channel", s.GetName()}, [2]any{"kind", channelKind(ch)}, [2]any{"to", ch.GetTarget()}, [2]any{"events", rulesText(ch)},
		[2]any{"repeat", output.Span(s.GetRepeat())}, [2]any{"id", ch.GetId()},
	)
}

// quietDays are the days as people write them, Sunday first.
func quietDays() []string { return []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"} }

// parseQuiet reads "mon,tue 22:00-07:00 Europe/Berlin"; days and zone may be left out.
func parseQuiet(text string) (*gestorv1.QuietHours, error) {
	if text == "none" || text == "" {
		return nil, nil
	}
	bad := fault.Invalid("quiet", "%q are no quiet hours", text).WithFix(`write "22:00-07:00 Europe/Berlin", "mon,tue 12:00-13:00 UTC", or "none"`)
	q := &gestorv1.QuietHours{}
	words := strings.Fields(text)
	if len(words) > 1 && !strings.Contains(words[0], ":") {
		for name := range strings.SplitSeq(strings.ToLower(words[0]), ",") {
			day := dayOf(name)
			if day < 0 {
				return nil, bad
			}
			q.Days = append(q.Days, day)
		}
		words = words[1:]
	}
	if len(words) == 0 || len(words) > 2 {
		return nil, bad
	}
	if len(words) == 2 {
		q.TimeZone = words[1]
	}
	from, to, ok := strings.Cut(words[0], "-")
	if !ok || !minuteOf(from, &q.FromMinute) || !minuteOf(to, &q.ToMinute) || q.GetFromMinute() == 24*60 {
		return nil, bad
	}
	return q, nil
}

func dayOf(name string) int32 {
	for i, day := range quietDays() {
		if day == name {
			return int32(i)
		}
	}
	return -1
}

func minuteOf(text string, into *int32) bool {
	if text == "24:00" {
		*into = 24 * 60
		return true
	}
	t, err := time.Parse("15:04", text)
	*into = int32(t.Hour()*60 + t.Minute())
	return err == nil
}

func quietText(q *gestorv1.QuietHours) string {
	text := fmt.Sprintf("%02d:%02d-%02d:%02d", q.GetFromMinute()/60, q.GetFromMinute()%60, q.GetToMinute()/60, q.GetToMinute()%60)
	var days []string
	for _, d := range q.GetDays() {
		if int(d) < len(quietDays()) && d >= 0 {
			days = append(days, quietDays()[d])
		}
	}
	if len(days) > 0 {
		text = strings.Join(days, ",") + " " + text
	}
	if q.GetTimeZone() != "" {
		text += " " + q.GetTimeZone()
	}
	return text
}
