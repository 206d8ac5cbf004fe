package api

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mail"
	"github.com/saas-gestor/gestor/server/internal/outward"
)

var channelKinds = map[gestor.ChannelKind]gestorv1.ChannelKind{
	gestor.ChannelEmail:    gestorv1.ChannelKind_CHANNEL_KIND_EMAIL,
	gestor.ChannelWebhook:  gestorv1.ChannelKind_CHANNEL_KIND_WEBHOOK,
	gestor.ChannelSlack:    gestorv1.ChannelKind_CHANNEL_KIND_SLACK,
	gestor.ChannelDiscord:  gestorv1.ChannelKind_CHANNEL_KIND_DISCORD,
	gestor.ChannelTelegram: gestorv1.ChannelKind_CHANNEL_KIND_TELEGRAM,
}

var deliveryStates = map[gestor.DeliveryState]gestorv1.DeliveryState{
	gestor.DeliveryQueued:  gestorv1.DeliveryState_DELIVERY_STATE_QUEUED,
	gestor.DeliverySent:    gestorv1.DeliveryState_DELIVERY_STATE_SENT,
	gestor.DeliveryFailed:  gestorv1.DeliveryState_DELIVERY_STATE_FAILED,
	gestor.DeliveryDropped: gestorv1.DeliveryState_DELIVERY_STATE_DROPPED,
}

// domainName is the domain's name of a value of the contract; empty if there is none.
func domainName[K ~string, V comparable](names map[K]V, v V) K {
	for k, other := range names {
		if other == v {
			return k
		}
	}
	return ""
}

func channelKindIn(k gestorv1.ChannelKind) gestor.ChannelKind { return domainName(channelKinds, k) }

func deliveryStateIn(s gestorv1.DeliveryState) gestor.DeliveryState {
	return domainName(deliveryStates, s)
}

// usualRepeat is for how long the same thing is not told again if nobody said otherwise.
const usualRepeat = 15 * time.Minute

// channelIn checks what is chosen of a channel and puts it in; apps are still as a person named them.
func channelIn(ch *gestor.Channel, in *gestorv1.ChannelSettings) error {
	if strings.ContainsFunc(in.GetName(), func(r rune) bool { return !unicode.IsPrint(r) }) || strings.TrimSpace(in.GetName()) != in.GetName() ||
		strings.HasPrefix(in.GetName(), "chn_") {
		return fault.Invalid("settings.name", "%.80q is no name for a channel", in.GetName()).WithFix("write one line of letters, like \"on call\"")
	}
	for i, k := range in.GetKinds() {
		if err := gestor.CheckEventKind("settings.kinds["+strconv.Itoa(i)+"]", k); err != nil {
			return err
		}
	}
	repeat := usualRepeat
	if in.GetRepeat() != nil {
		var err error
		if repeat, err = spanIn("settings.repeat", in.GetRepeat()); err != nil {
			return err
		}
	}
	quiet, err := quietIn(in.GetQuiet())
	if err != nil {
		return err
	}
	ch.Name, ch.Address, ch.Disabled, ch.Installation = in.GetName(), in.GetAddress(), in.GetDisabled(), in.GetInstallation()
	ch.Rules = gestor.ChannelRules{
		Severity: gestor.Severity(in.GetSeverity()), Kinds: in.GetKinds(), Quiet: quiet, Repeat: repeat,
		Narrow: gestor.Narrowing{Environments: in.GetEnvironments()},
	}
	for range in.GetApps() {
		ch.Rules.Narrow.Apps = append(ch.Rules.Narrow.Apps, "")
	}
	if err := checkChannelAddress(ch.Kind, ch.Address); err != nil {
		return err
	}
	if ch.Kind != gestor.ChannelSlack && ch.Kind != gestor.ChannelDiscord {
		ch.Target = targetOf(*ch, "")
	}
	return nil
}

const dayMinutes = 24 * 60

func quietIn(in *gestorv1.QuietHours) (gestor.QuietHours, error) {
	q := gestor.QuietHours{Zone: in.GetTimeZone(), From: int(in.GetFromMinute()), To: int(in.GetToMinute()), CriticalPasses: in.GetCriticalPasses()}
	for _, d := range in.GetDays() {
		q.Days = append(q.Days, time.Weekday(d))
	}
	if q.IsZero() {
		return gestor.QuietHours{}, nil
	}
	if _, err := time.LoadLocation(q.Zone); err != nil || q.Zone == "Local" {
		return q, fault.Invalid("settings.quiet.time_zone", "there is no time zone %.80q", q.Zone).WithFix("write it like Europe/Berlin, or UTC")
	}
	long := q.To - q.From
	if long <= 0 {
		long += dayMinutes
	}
	if long == dayMinutes && (len(q.Days) == 0 || len(q.Days) == 7) {
		return q, fault.Invalid("settings.quiet", "quiet hours that never end let nothing through").WithFix("disable the channel instead, or name days")
	}
	return q, nil
}

var (
	telegramChat  = regexp.MustCompile(`^(-?[0-9]{1,20}|@[A-Za-z0-9_]{4,64})$`)
	telegramToken = regexp.MustCompile(`^[0-9]{1,20}:[A-Za-z0-9_-]{20,200}$`)
)

func checkChannelAddress(kind gestor.ChannelKind, address string) error {
	const field = "settings.address"
	switch kind {
	case gestor.ChannelEmail:
		return mail.CheckAddress(field, address)
	case gestor.ChannelWebhook:
		_, err := outward.ParseURL(field, address)
		return err
	case gestor.ChannelTelegram:
		if !telegramChat.MatchString(address) {
			return fault.Invalid(field, "%.80q is no chat of Telegram", address).WithFix("write its number, like -1001234567890, or @name of a public one")
		}
	case gestor.ChannelSlack, gestor.ChannelDiscord:
		if address != "" {
			return fault.Invalid(field, "the URL of a %s channel is its secret", kind).WithFix("give it as the secret")
		}
	}
	return nil
}

const leastKey = 16

func checkChannelSecret(kind gestor.ChannelKind, secret string) error {
	const field = "secret"
	switch kind {
	case gestor.ChannelEmail:
		if secret != "" {
			return fault.Invalid(field, "a channel of e-mail has no secret")
		}
	case gestor.ChannelWebhook:
		if len(secret) < leastKey {
			return fault.Invalid(field, "a signing key has at least %d bytes", leastKey).WithFix("leave it out to have one chosen")
		}
	case gestor.ChannelTelegram:
		if !telegramToken.MatchString(secret) {
			return fault.Invalid(field, "it is no token of a Telegram bot").WithFix("@BotFather shows it, like 123456:ABC-…")
		}
	case gestor.ChannelSlack, gestor.ChannelDiscord:
		u, err := outward.ParseURL(field, secret)
		if err == nil && u.Path == "" {
			err = fault.Invalid(field, "it is no URL of an incoming webhook")
		}
		return err
	}
	return nil
}

// targetOf is where a channel leads, as far as it may be shown in lists and in the audit log.
func targetOf(ch gestor.Channel, secret string) string {
	switch ch.Kind {
	case gestor.ChannelEmail:
		return ch.Address
	case gestor.ChannelTelegram:
		return "chat " + ch.Address
	case gestor.ChannelWebhook:
		return originOf(ch.Address)
	case gestor.ChannelSlack, gestor.ChannelDiscord:
	}
	return originOf(secret)
}

func originOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func channelOut(ch gestor.Channel) *gestorv1.Channel {
	apps := make([]string, len(ch.Rules.Narrow.Apps))
	for i, id := range ch.Rules.Narrow.Apps {
		apps[i] = string(id)
	}
	return &gestorv1.Channel{
		Id:     string(ch.ID),
		Kind:   channelKinds[ch.Kind],
		Target: ch.Target,
		Settings: &gestorv1.ChannelSettings{
			Name:         ch.Name,
			Address:      ch.Address,
			Severity:     gestorv1.EventSeverity(ch.Rules.Severity),
			Kinds:        ch.Rules.Kinds,
			Apps:         apps,
			Environments: ch.Rules.Narrow.Environments,
			Quiet:        quietOut(ch.Rules.Quiet),
			Repeat:       durationpb.New(ch.Rules.Repeat),
			Disabled:     ch.Disabled,
			Installation: ch.Installation,
		},
		HasSecret: len(ch.SecretSealed) > 0,
		CreatedBy: ch.CreatedBy,
		CreatedAt: timeOut(ch.CreatedAt),
		Revision:  ch.Revision,
	}
}

func quietOut(q gestor.QuietHours) *gestorv1.QuietHours {
	if q.IsZero() {
		return nil
	}
	out := &gestorv1.QuietHours{
		TimeZone: q.Zone, FromMinute: int32(q.From), ToMinute: int32(q.To), CriticalPasses: q.CriticalPasses,
	}
	for _, d := range q.Days {
		out.Days = append(out.Days, int32(d))
	}
	return out
}

func deliveryOut(d gestor.Delivery) *gestorv1.Delivery {
	return &gestorv1.Delivery{
		Id:        string(d.ID),
		ChannelId: string(d.ChannelID),
		Event:     eventOut(d.Event),
		More:      d.More,
		State:     deliveryStates[d.State],
		Attempts:  int32(d.Attempts),
		NextAt:    timeOut(d.NextAt),
		Error:     d.Error,
		CreatedAt: timeOut(d.CreatedAt),
		SentAt:    sentAt(d),
	}
}

func sentAt(d gestor.Delivery) *timestamppb.Timestamp {
	if d.State != gestor.DeliverySent {
		return nil
	}
	return timeOut(d.EndedAt)
}
