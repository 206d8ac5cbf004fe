package mail

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/saas-gestor/gestor/proto/fault"
)

// TLS says how the way to the mail server is kept private.
type TLS string

// The ways. There is none that falls back to plain text.
const (
	StartTLS TLS = "starttls" // begin plain, go on encrypted or not at all
	Implicit TLS = "implicit" // encrypted from the first byte
	NoTLS    TLS = "none"     // plain text, to this machine only and without a password
)

// Options say which mail server is used. The zero value means none.
type Options struct {
	Host         string
	Port         int    // 0: 587 for StartTLS, 465 for Implicit, 25 for NoTLS
	From         string // "gestor@example.com" or "Gestor <gestor@example.com>"
	User         string // empty: without signing in
	PasswordFile string // read for every message, so that a new password needs no restart
	TLS          TLS    // empty: StartTLS
	Roots        *x509.CertPool
	Timeout      time.Duration // for one message in all; 0: 30 s
}

const usualTimeout = 30 * time.Second

// SMTP is a mail server that is spoken to by SMTP.
type SMTP struct {
	o    Options
	from netmail.Address
}

var _ Sender = (*SMTP)(nil)

// New checks o. No host makes a Sender that is not configured.
func New(o Options) (*SMTP, error) {
	if o.Host == "" {
		return &SMTP{}, nil
	}
	o.TLS = cmp.Or(o.TLS, StartTLS)
	o.Port = cmp.Or(o.Port, usualPort(o.TLS))
	o.Timeout = cmp.Or(o.Timeout, usualTimeout)
	from, err := netmail.ParseAddress(o.From)
	if err != nil || strings.ContainsFunc(from.Name, isControl) {
		return nil, fmt.Errorf("mail.from %q is no address: write Gestor <gestor@example.com>", o.From)
	}
	if err := CheckAddress("mail.from", from.Address); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	return &SMTP{o: o, from: *from}, nil
}

func usualPort(t TLS) int {
	switch t {
	case Implicit:
		return 465
	case NoTLS:
		return 25
	case StartTLS:
	}
	return 587
}

func (o Options) check() error {
	if strings.ContainsAny(o.Host, " \t\r\n/:@") && net.ParseIP(o.Host) == nil {
		return fmt.Errorf("mail.host %q is no host name: write mail.example.com, and the port as mail.port", o.Host)
	}
	if o.Port < 1 || o.Port > 65535 {
		return fmt.Errorf("mail.port %d is no port", o.Port)
	}
	switch o.TLS {
	case StartTLS, Implicit:
	case NoTLS:
		if !isLoopback(o.Host) || o.User != "" {
			return errors.New(`mail.tls = "none" sends in the clear: it is for a mail server on this machine, without user; write "starttls" or "implicit"`)
		}
	default:
		return fmt.Errorf("mail.tls %q is none of starttls, implicit, none", o.TLS)
	}
	if (o.User == "") != (o.PasswordFile == "") {
		return errors.New("mail.user and mail.password_file belong together: write both or neither")
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Configured reports whether there is a mail server.
func (s *SMTP) Configured() bool { return s.o.Host != "" }

// Send hands m to the mail server, on a connection of its own.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	if !s.Configured() {
		return fault.Conflict("this installation has no mail server").WithFix("an operator writes host and from in the section [mail] of every server's file")
	}
	if err := m.check(); err != nil {
		return err
	}
	msg, err := s.compose(m)
	if err != nil {
		return fmt.Errorf("compose mail: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	return s.deliver(ctx, msg)
}

func (s *SMTP) compose(m Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	msg.FromMailAddress(&s.from)
	if err := msg.To(m.To); err != nil {
		return nil, err
	}
	_, domain, _ := strings.Cut(s.from.Address, "@")
	msg.SetMessageIDWithValue(cmp.Or(m.Key, rand.Text()) + "@" + domain)
	msg.SetDate()
	msg.Subject(m.Subject)
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetGenHeader("X-Auto-Response-Suppress", "All")
	msg.SetBodyString(gomail.TypeTextPlain, strings.ReplaceAll(m.Text, "\r\n", "\n"))
	return msg, nil
}

func (s *SMTP) deliver(ctx context.Context, msg *gomail.Msg) error {
	line := &line{tls: s.tlsConfig(), implicit: s.o.TLS == Implicit}
	defer line.close()
	defer context.AfterFunc(ctx, line.close)() // a server that is slow at any step holds nobody longer than that
	client, err := s.client(line)
	if err != nil {
		return err
	}
	conn, err := client.DialToSMTPClientWithContext(ctx)
	if err == nil {
		err = client.SendWithSMTPClient(conn, msg)
	}
	if msg.IsDelivered() {
		return nil // whatever went wrong after that, the server has it
	}
	return s.fault(ctx, err)
}

func (s *SMTP) client(line *line) (*gomail.Client, error) {
	options := []gomail.Option{
		gomail.WithPort(s.o.Port), gomail.WithTimeout(s.o.Timeout), gomail.WithDialContextFunc(line.dial), gomail.WithTLSConfig(line.tls),
		gomail.WithoutNoop(), gomail.WithTLSPolicy(gomail.TLSMandatory),
	}
	switch s.o.TLS {
	case Implicit:
		options = append(options, gomail.WithSSL())
	case NoTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	case StartTLS:
	}
	if s.o.User != "" {
		password, err := os.ReadFile(s.o.PasswordFile)
		if err != nil {
			return nil, fault.Unavailable("the password of the mail server cannot be read").WithCause(err).WithFix("check mail.password_file of this server")
		}
		options = append(options, gomail.WithUsername(s.o.User), gomail.WithPassword(strings.TrimRight(string(password), "\r\n")),
			gomail.WithOpportunisticSMTPAuth(gomail.SMTPAuthSCRAMSHA256, gomail.SMTPAuthPlain, gomail.SMTPAuthLogin, gomail.SMTPAuthCramMD5))
	}
	client, err := gomail.NewClient(s.o.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("prepare mail client: %w", err)
	}
	return client, nil
}

func (s *SMTP) tlsConfig() *tls.Config {
	return &tls.Config{ServerName: s.o.Host, RootCAs: s.o.Roots, MinVersion: tls.VersionTLS12}
}

// fault says what went wrong without what the server wrote, which is for the log.
func (s *SMTP) fault(ctx context.Context, err error) error {
	server := net.JoinHostPort(s.o.Host, strconv.Itoa(s.o.Port))
	if ctx.Err() != nil {
		return fault.Unavailable("the mail server %s took too long to answer", server).WithCause(err)
	}
	refused, ok := errors.AsType[*gomail.SendError](err)
	if !ok || refused.ErrorCode() == 0 {
		return fault.Unavailable("the mail server %s cannot be used: %s", server, plainReason(err)).WithCause(err)
	}
	code := strings.TrimSpace(strconv.Itoa(refused.ErrorCode()) + " " + refused.EnhancedStatusCode())
	if refused.IsTemp() {
		return fault.Unavailable("the mail server %s does not take the message now (%s)", server, code).WithCause(err)
	}
	return fault.Conflict("the mail server %s refuses the message (%s)", server, code).WithCause(err).
		WithFix("check the address; the log of the control server has the mail server's words")
}

// plainReason says in our own words why a server cannot be spoken to.
func plainReason(err error) string {
	var unknown x509.UnknownAuthorityError
	var verification *tls.CertificateVerificationError
	var op *net.OpError
	switch text := err.Error(); {
	case errors.As(err, &unknown), errors.As(err, &verification):
		return "its certificate is not trusted"
	case strings.Contains(text, "STARTTLS"):
		return "it does not offer STARTTLS"
	case strings.Contains(text, "AUTH"), strings.Contains(text, "535"):
		return "it does not accept user and password"
	case errors.As(err, &op) && op.Op == "dial":
		return "no connection comes about"
	default:
		return "it ended the conversation"
	}
}

// line is the connection of one message.
type line struct {
	tls      *tls.Config
	implicit bool

	mu     sync.Mutex
	conn   net.Conn // guarded by mu
	closed bool     // guarded by mu
}

func (l *line) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if !l.keep(conn) {
		return nil, net.ErrClosed
	}
	if !l.implicit {
		return conn, nil
	}
	encrypted := tls.Client(conn, l.tls)
	return encrypted, encrypted.HandshakeContext(ctx)
}

// keep takes conn over; it is closed already if the line is.
func (l *line) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = conn.Close() // nothing was said on it
		return false
	}
	l.conn = conn
	return true
}

func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.conn != nil {
		_ = l.conn.Close() // the message was taken or not: closing adds nothing
	}
}
