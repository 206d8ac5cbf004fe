package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// The headers of webhooks.
const (
	HeaderEvent     = "X-Gestor-Event"     // the kind: "node.lost"
	HeaderDelivery  = "X-Gestor-Delivery"  // the same for every attempt
	HeaderTimestamp = "X-Gestor-Timestamp" // seconds since 1970 of this attempt
	HeaderSignature = "X-Gestor-Signature" // what Sign returns
)

// Sign is the signature of a webhook: "sha256=" and the HMAC-SHA-256, in hexadecimal, of timestamp, a dot, and body.
func Sign(key []byte, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(timestamp + "."))
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// webhook is the body of webhooks. Fields are only ever added.
type webhook struct {
	ID           string            `json:"id"`
	Kind         string            `json:"kind"`
	Severity     string            `json:"severity"`
	Title        string            `json:"title"`
	Object       webhookObject     `json:"object"`
	AppID        string            `json:"app_id,omitempty"`
	Data         map[string]string `json:"data"`
	EventID      string            `json:"event_id,omitempty"`
	CreatedAt    time.Time         `json:"created_at"`
	LastAt       time.Time         `json:"last_at"`
	Count        int64             `json:"count"`
	More         int64             `json:"more"`
	Installation bool              `json:"installation"`
}

type webhookObject struct {
	Kind string `json:"kind"`
	ID   string `json:"id"`
}

func webhookBody(d gestor.Delivery) ([]byte, error) {
	e := d.Event
	data := e.Data
	if data == nil {
		data = map[string]string{}
	}
	return json.Marshal(webhook{
		ID: string(d.ID), Kind: e.Kind, Severity: e.Severity.String(), Title: e.Title, Object: webhookObject{e.ObjectKind, e.ObjectID},
		AppID: string(e.AppID), Data: data, EventID: string(e.ID), CreatedAt: e.CreatedAt.UTC(), LastAt: e.LastAt.UTC(), Count: e.Count, More: d.More,
		Installation: e.TenantID == "",
	})
}

// more says how much else a message tells of; empty for nothing.
func more(d gestor.Delivery) string {
	if d.More == 0 {
		return ""
	}
	return fmt.Sprintf("and %d more", d.More)
}

func mailSubject(d gestor.Delivery) string {
	subject := "[" + d.Event.Severity.String() + "] " + d.Event.Title
	if m := more(d); m != "" {
		subject += ", " + m
	}
	return mail.Subject("%s", subject)
}

func mailText(d gestor.Delivery) string {
	e := d.Event
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", e.Title)
	if d.More > 0 {
		fmt.Fprintf(&b, "This was the last; there were %d more like it.\n\n", d.More)
	}
	fmt.Fprintf(&b, "Severity: %s\nKind:     %s\nWhen:     %s\n", e.Severity, e.Kind, e.LastAt.UTC().Format("2006-01-02 15:04:05 UTC"))
	for _, name := range slices.Sorted(maps.Keys(e.Data)) {
		fmt.Fprintf(&b, "%s: %s\n", name, e.Data[name])
	}
	b.WriteString("\n-- \nSent by Gestor because a notification channel of yours leads here. Change it with: gestor channels\n")
	return b.String()
}

// line is a message on one line, with all that people wrote in it escaped.
func line(d gestor.Delivery, escape func(string) string) string {
	text := sign(d.Event.Severity) + " " + escape(d.Event.Title)
	if m := more(d); m != "" {
		text += " (" + m + ")"
	}
	return text
}

func sign(s gestor.Severity) string {
	switch s {
	case gestor.SeverityCritical:
		return "🚨"
	case gestor.SeverityError:
		return "❌"
	case gestor.SeverityWarning:
		return "⚠️"
	case gestor.SeverityInfo:
	}
	return "ℹ️"
}

// apart is put where two characters would mean something together. It has no width.
const apart = "\u200b"

// escapeSlack keeps text from being a link, a mention or a command, in Slack and in what takes the same form and reads
// Markdown in it.
func escapeSlack(s string) string {
	return strings.NewReplacer(
		"&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@"+apart, "://", ":"+apart+"//", "](", "]"+apart+"(", "`", "'",
	).Replace(s)
}

func slackBody(d gestor.Delivery) []byte {
	return body(map[string]any{"text": cut(line(d, escapeSlack), 3000), "unfurl_links": false, "unfurl_media": false})
}

// escapeDiscord makes every character of Markdown stand for itself, and no mention of an @.
func escapeDiscord(s string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune("\\*_~`|>#-[]()<:", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
		if r == '@' || r == '/' {
			b.WriteString(apart)
		}
	}
	return b.String()
}

func discordBody(d gestor.Delivery) []byte {
	const suppressEmbeds = 1 << 2
	return body(map[string]any{
		"content": cut(line(d, escapeDiscord), 1900), "flags": suppressEmbeds, "allowed_mentions": map[string]any{"parse": []string{}},
	})
}

func telegramBody(chat string, d gestor.Delivery) []byte {
	return body(map[string]any{
		"chat_id": chat, "text": cutHTML(line(d, html.EscapeString), 3500), "parse_mode": "HTML", "link_preview_options": map[string]any{"is_disabled": true},
	})
}

func body(v map[string]any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("text and numbers are JSON: %v", err))
	}
	return b
}

// cut shortens text to at most so many bytes, between characters.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for !utf8.ValidString(s) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// cutHTML is cut that leaves no half of an escape at the end.
func cutHTML(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = cut(s, most)
	if i := strings.LastIndexByte(s, '&'); i >= 0 && !strings.Contains(s[i:], ";") {
		s = s[:i] + "…"
	}
	return s
}
