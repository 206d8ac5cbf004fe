// Package mail hands single e-mails to the operator's mail server. It keeps no queue and does not try again: whoever sends
// does. A message that Send returned nil for was taken by the server; after an error it may have been, so a second attempt
// carries the same Key, which becomes the Message-ID that mailboxes drop repeats by.
//
// Nothing that people wrote can add a header, an address or a command: every part is checked here, whoever checked it before.
package mail

import (
	"context"
	"fmt"
	netmail "net/mail"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Message is an e-mail to one person.
type Message struct {
	To      string // an address without a name: "ana@example.com"
	Subject string // one line
	Text    string // plain text
	Key     string // the same for every attempt to send the same message; letters, digits, _ and -; chosen if empty
}

// Sender sends e-mail. It is safe for use by several goroutines.
type Sender interface {
	// Configured reports whether this installation has a mail server. If not, Send returns a fault.KindConflict that says so.
	Configured() bool
	// Send hands m to the mail server. A fault.KindInvalid or KindConflict is final; a KindUnavailable may heal by itself.
	Send(ctx context.Context, m Message) error
}

const (
	maxAddress = 254 // RFC 5321, 4.5.3.1.3
	maxSubject = 200
	maxText    = 256 << 10
	maxKey     = 100
)

// CheckAddress checks that mail can be sent to an address: a plain one, without a name, comments or quotes.
func CheckAddress(field, address string) error {
	bad := fault.Invalid(field, "%.80q is no e-mail address", address).WithFix("write it like ana@example.com")
	if len(address) > maxAddress || !utf8.ValidString(address) || strings.ContainsFunc(address, neverInAddress) {
		return bad
	}
	parsed, err := netmail.ParseAddress(address)
	if err != nil || parsed.Address != address || parsed.Name != "" {
		return bad
	}
	local, domain, ok := strings.Cut(address, "@")
	if !ok || local == "" || strings.HasPrefix(local, "-") || strings.HasPrefix(domain, "-") {
		return bad
	}
	return nil
}

// neverInAddress holds for what ends a header or a command, or makes an address mean more than one mailbox.
func neverInAddress(r rune) bool {
	return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune("<>()[]\"\\,;:%", r)
}

func (m Message) check() error {
	if err := CheckAddress("to", m.To); err != nil {
		return err
	}
	if m.Subject == "" || len(m.Subject) > maxSubject || !utf8.ValidString(m.Subject) || strings.ContainsFunc(m.Subject, isControl) {
		return fault.Invalid("subject", "a subject is one line of 1 to %d bytes", maxSubject)
	}
	if len(m.Text) > maxText || !utf8.ValidString(m.Text) {
		return fault.Invalid("text", "a text is at most %d bytes of UTF-8", maxText)
	}
	if len(m.Key) > maxKey || strings.ContainsFunc(m.Key, func(r rune) bool { return !isKeyRune(r) }) {
		return fault.Invalid("key", "a key is at most %d letters, digits, _ and -", maxKey)
	}
	return nil
}

func isControl(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }

func isKeyRune(r rune) bool {
	return r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_' || r == '-')
}

// Subject makes one line that a Message takes as its subject out of any text.
func Subject(format string, args ...any) string {
	line := strings.Map(func(r rune) rune {
		if isControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, fmt.Sprintf(format, args...))
	for len(line) > maxSubject {
		_, size := utf8.DecodeLastRuneInString(line)
		line = line[:len(line)-size]
	}
	return line
}
