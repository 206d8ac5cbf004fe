package notify

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mail"
	"github.com/saas-gestor/gestor/server/internal/outward"
)

// Secrets opens what was sealed for a place.
type Secrets interface {
	Open(sealed []byte, place string) ([]byte, error)
}

// Poster sends a body to a URL that people named.
type Poster interface {
	Post(ctx context.Context, url string, header http.Header, body []byte) (outward.Answer, error)
}

// SenderOptions are what a Sender is made of.
type SenderOptions struct {
	Secrets  Secrets
	Mail     mail.Sender
	Web      Poster
	Now      func() time.Time
	Telegram string // where the bots of Telegram are; empty: https://api.telegram.org
	Version  string
}

// Sender sends one message through a channel.
type Sender struct{ o SenderOptions }

// NewSender makes a Sender.
func NewSender(o SenderOptions) *Sender {
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Telegram = cmp.Or(o.Telegram, "https://api.telegram.org")
	return &Sender{o: o}
}

// longestSend bounds one attempt, whatever a receiver does.
const longestSend = 30 * time.Second

// Send sends a delivery once. A fault.KindInvalid, KindConflict or KindDenied is final.
func (s *Sender) Send(ctx context.Context, ch gestor.Channel, d gestor.Delivery) error {
	ctx, cancel := context.WithTimeout(ctx, longestSend)
	defer cancel()
	secret, err := s.secret(ch)
	if err != nil {
		return err
	}
	switch ch.Kind {
	case gestor.ChannelEmail:
		return s.o.Mail.Send(ctx, mail.Message{To: ch.Address, Subject: mailSubject(d), Text: mailText(d), Key: string(d.ID)})
	case gestor.ChannelWebhook:
		return s.webhook(ctx, ch, d, secret)
	case gestor.ChannelSlack:
		return s.post(ctx, ch, string(secret), slackBody(d), d)
	case gestor.ChannelDiscord:
		return s.post(ctx, ch, string(secret), discordBody(d), d)
	case gestor.ChannelTelegram:
		return s.post(ctx, ch, s.o.Telegram+"/bot"+url.PathEscape(string(secret))+"/sendMessage", telegramBody(ch.Address, d), d)
	}
	return fault.Invalid("kind", "this server knows no channels of kind %q", ch.Kind)
}

// Test sends a test message at once.
func (s *Sender) Test(ctx context.Context, ch gestor.Channel) error {
	now := s.o.Now()
	return s.Send(ctx, ch, gestor.Delivery{
		ID: gestor.NewID[gestor.DeliveryID]("dlv"), TenantID: ch.TenantID, ChannelID: ch.ID, CreatedAt: now,
		Event: gestor.Event{
			TenantID: ch.TenantID, Severity: gestor.SeverityInfo, Kind: gestor.EventChannelTest, ObjectKind: "channel", ObjectID: string(ch.ID),
			Title: "this is a test of the channel " + ch.Name, Data: map[string]string{"channel": ch.Name}, CreatedAt: now, LastAt: now, Count: 1,
		},
	})
}

func (s *Sender) secret(ch gestor.Channel) ([]byte, error) {
	if len(ch.SecretSealed) == 0 {
		if ch.Kind == gestor.ChannelEmail {
			return nil, nil
		}
		return nil, fault.Conflict("the channel %s has no secret", ch.Name).WithFix("set it: gestor channels set %s --secret-file <file>", ch.Name)
	}
	secret, err := s.o.Secrets.Open(ch.SecretSealed, gestor.ChannelPlace(ch.ID))
	if err != nil {
		return nil, fault.Unavailable("the secret of the channel %s cannot be read with the keys this server has", ch.Name).WithCause(err).
			WithFix("set it anew: gestor channels set %s --secret-file <file>", ch.Name)
	}
	return secret, nil
}

func (s *Sender) webhook(ctx context.Context, ch gestor.Channel, d gestor.Delivery, key []byte) error {
	body, err := webhookBody(d)
	if err != nil {
		return fmt.Errorf("write delivery %s: %w", d.ID, err)
	}
	header := s.header(d)
	stamp := strconv.FormatInt(s.o.Now().Unix(), 10)
	header.Set(HeaderEvent, d.Event.Kind)
	header.Set(HeaderDelivery, string(d.ID))
	header.Set(HeaderTimestamp, stamp)
	header.Set(HeaderSignature, Sign(key, stamp, body))
	return s.answered(ch, ch.Address)(s.o.Web.Post(ctx, ch.Address, header, body))
}

func (s *Sender) post(ctx context.Context, ch gestor.Channel, to string, body []byte, d gestor.Delivery) error {
	return s.answered(ch, to)(s.o.Web.Post(ctx, to, s.header(d), body))
}

func (s *Sender) header(d gestor.Delivery) http.Header {
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("User-Agent", "gestor/"+cmp.Or(s.o.Version, "dev"))
	h.Set("Idempotency-Key", string(d.ID))
	return h
}

// answered judges an answer by its status alone.
func (s *Sender) answered(ch gestor.Channel, to string) func(outward.Answer, error) error {
	return func(a outward.Answer, err error) error {
		if err != nil || a.Status >= 200 && a.Status < 300 {
			return err
		}
		host := hostOf(to)
		if a.Status >= 300 && a.Status < 400 {
			return fault.Conflict("%s answered with a redirect (status %d), which is not followed", host, a.Status).WithFix("use the address it leads to")
		}
		if isRefusal(ch.Kind, a.Status) {
			return fault.Conflict("%s refuses the message (status %d)", host, a.Status).WithFix("check the address and the secret of the channel")
		}
		return fault.Unavailable("%s answered with status %d", host, a.Status).WithRetryAfter(a.RetryAfter)
	}
}

// isRefusal reports whether a status means the same tomorrow. Receivers of one's own answer with nearly anything while they
// are installed anew: for them only 410 does.
func isRefusal(kind gestor.ChannelKind, status int) bool {
	switch status {
	case http.StatusGone:
		return true
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		return kind != gestor.ChannelWebhook
	}
	return false
}

func hostOf(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "the receiver"
	}
	return u.Hostname()
}
