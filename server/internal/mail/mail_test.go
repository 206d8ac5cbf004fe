package mail_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/mail"
)

// mailbox is a mail server that keeps what it takes.
type mailbox struct {
	host  string
	port  int
	roots *x509.CertPool

	mu     sync.Mutex
	taken  []string
	refuse *smtp.SMTPError
	secure bool // the last sign-in came encrypted
}

type session struct {
	box  *mailbox
	conn *smtp.Conn
	user string
	to   []string
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != "gestor" || password != "open sesame" {
			return smtp.ErrAuthFailed
		}
		s.box.mu.Lock()
		defer s.box.mu.Unlock()
		_, s.box.secure = s.conn.TLSConnectionState()
		s.user = user
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error { return nil }

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	if s.box.refuse != nil {
		return s.box.refuse
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.taken = append(s.box.taken, strings.Join(s.to, ",")+"\n"+string(b))
	return err
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail"}, DNSNames: []string{"localhost"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func newMailbox(t *testing.T, way mail.TLS) *mailbox {
	t.Helper()
	cert, roots := certificate(t)
	box := &mailbox{host: "localhost", roots: roots}
	server := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) { return &session{box: box, conn: c}, nil }))
	server.Domain = "localhost"
	server.ErrorLog = silence{}
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	if way == mail.StartTLS {
		server.TLSConfig = config
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	box.port = listener.Addr().(*net.TCPAddr).Port
	if way == mail.Implicit {
		listener = tls.NewListener(listener, config)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return box
}

type silence struct{}

func (silence) Printf(string, ...any) {}
func (silence) Println(...any)        {}

func (b *mailbox) options(t *testing.T, way mail.TLS) mail.Options {
	t.Helper()
	o := mail.Options{Host: b.host, Port: b.port, From: "Gestor ü <gestor@example.com>", TLS: way, Roots: b.roots, Timeout: 10 * time.Second}
	if way != mail.NoTLS {
		o.User, o.PasswordFile = "gestor", filepath.Join(t.TempDir(), "password")
		if err := os.WriteFile(o.PasswordFile, []byte("open sesame\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func newSender(t *testing.T, o mail.Options) *mail.SMTP {
	t.Helper()
	s, err := mail.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hello() mail.Message {
	return mail.Message{To: "ana@example.com", Subject: "Grüße", Text: "line one\n.\nQUIT\nüber alles\n", Key: "dlv_1"}
}

func TestSend_HandsAMessageOverByEveryWay(t *testing.T) {
	for _, way := range []mail.TLS{mail.StartTLS, mail.Implicit, mail.NoTLS} {
		box := newMailbox(t, way)
		s := newSender(t, box.options(t, way))
		if err := s.Send(t.Context(), hello()); err != nil || !s.Configured() {
			t.Errorf("%s: %v", way, err)
			continue
		}
		if box.secure != (way != mail.NoTLS) {
			t.Errorf("%s: the password went in the clear", way)
		}
		to, raw, _ := strings.Cut(box.taken[0], "\n")
		m, err := netmail.ReadMessage(strings.NewReader(raw))
		if err != nil || to != "ana@example.com" || m.Header.Get("Message-Id") != "<dlv_1@example.com>" || m.Header.Get("Auto-Submitted") != "auto-generated" {
			t.Errorf("%s: to %s, %v, %v", way, to, m.Header, err)
		}
	}
}

func TestSend_RefusesToGoOnInTheClearOrWithAnybody(t *testing.T) {
	plain := newMailbox(t, mail.NoTLS)
	o := plain.options(t, mail.StartTLS)
	if err := newSender(t, o).Send(t.Context(), hello()); !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "STARTTLS") {
		t.Errorf("without STARTTLS: %v", err)
	}
	for _, way := range []mail.TLS{mail.StartTLS, mail.Implicit} {
		box := newMailbox(t, way)
		o := box.options(t, way)
		o.Roots = x509.NewCertPool()
		if err := newSender(t, o).Send(t.Context(), hello()); !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s with a certificate of nobody: %v", way, err)
		}
	}
	if len(plain.taken) != 0 {
		t.Error("it was sent nevertheless")
	}
}

func TestSend_TellsRefusalsForGoodFromThoseForNow(t *testing.T) {
	box := newMailbox(t, mail.StartTLS)
	s := newSender(t, box.options(t, mail.StartTLS))
	box.refuse = &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no SECRET here"}
	if err := s.Send(t.Context(), hello()); !errors.Is(err, fault.KindConflict) || !strings.Contains(err.Error(), "550") || strings.Contains(err.Error(), "SECRET") {
		t.Errorf("got %v", err)
	}
	box.refuse = &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "greylisted"}
	if err := s.Send(t.Context(), hello()); !errors.Is(err, fault.KindUnavailable) {
		t.Errorf("got %v", err)
	}
	o := box.options(t, mail.StartTLS)
	if err := os.WriteFile(o.PasswordFile, []byte("wrong"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := newSender(t, o).Send(t.Context(), hello()); !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), "user and password") {
		t.Errorf("a wrong password: %v", err)
	}
}

func TestSend_EndsWithAServerThatIsSilent(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			if _, err := listener.Accept(); err != nil {
				return
			}
		}
	}()
	o := mail.Options{Host: "localhost", Port: listener.Addr().(*net.TCPAddr).Port, From: "a@example.com", Timeout: 200 * time.Millisecond}
	if err := newSender(t, o).Send(t.Context(), hello()); !errors.Is(err, fault.KindUnavailable) {
		t.Errorf("got %v", err)
	}
	o.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := newSender(t, o).Send(ctx, hello()); !errors.Is(err, fault.KindUnavailable) {
		t.Errorf("a caller who leaves: got %v", err)
	}
}

func TestSend_RefusesWhatWouldBeMoreThanOneMessageToOnePerson(t *testing.T) {
	box := newMailbox(t, mail.NoTLS)
	s := newSender(t, box.options(t, mail.NoTLS))
	for name, change := range map[string]func(*mail.Message){
		"a header in the subject":  func(m *mail.Message) { m.Subject = "x\r\nBcc: b@example.com" },
		"a line end in it":         func(m *mail.Message) { m.Subject = "x\ny" },
		"a separator in it":        func(m *mail.Message) { m.Subject = "x\u2028y" },
		"no subject":               func(m *mail.Message) { m.Subject = "" },
		"two addresses":            func(m *mail.Message) { m.To = "a@example.com, b@example.com" },
		"a name":                   func(m *mail.Message) { m.To = "Ana <a@example.com>" },
		"a command in the address": func(m *mail.Message) { m.To = "a@example.com>\r\nDATA" },
		"a quoted address":         func(m *mail.Message) { m.To = `"a b"@example.com` },
		"a hidden direction":       func(m *mail.Message) { m.To = "a\u202eb@example.com" },
		"a source route":           func(m *mail.Message) { m.To = "@x:a@example.com" },
		"a percent hack":           func(m *mail.Message) { m.To = "a%b@example.com" },
		"an option":                func(m *mail.Message) { m.To = "-oQ/tmp@example.com" },
		"a header in the key":      func(m *mail.Message) { m.Key = "x>\r\nBcc: b" },
		"no text":                  func(m *mail.Message) { m.Text = "\xff" },
	} {
		m := hello()
		change(&m)
		if err := s.Send(t.Context(), m); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if len(box.taken) != 0 {
		t.Errorf("%d messages were sent", len(box.taken))
	}
}

func TestNew_RefusesWhatIsNotSafe(t *testing.T) {
	for name, o := range map[string]mail.Options{
		"plain to elsewhere":      {Host: "mail.example.com", From: "a@example.com", TLS: mail.NoTLS},
		"a password in the clear": {Host: "localhost", From: "a@example.com", TLS: mail.NoTLS, User: "u", PasswordFile: "/x"},
		"no sender":               {Host: "mail.example.com"},
		"an unknown way":          {Host: "mail.example.com", From: "a@example.com", TLS: "maybe"},
		"a user without password": {Host: "mail.example.com", From: "a@example.com", User: "u"},
		"a port in the host":      {Host: "mail.example.com:25", From: "a@example.com"},
		"a port that is none":     {Host: "mail.example.com", From: "a@example.com", Port: 70000},
	} {
		if _, err := mail.New(o); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	none := newSender(t, mail.Options{})
	if err := none.Send(t.Context(), hello()); none.Configured() || !errors.Is(err, fault.KindConflict) {
		t.Errorf("without a mail server: got %v", err)
	}
}

func FuzzCheckAddress_TakesOneMailboxOnly(f *testing.F) {
	f.Add("a@example.com")
	f.Add("a@b\r\nRCPT TO:<c@d>")
	f.Add("<a@b>,c@d")
	f.Fuzz(func(t *testing.T, address string) {
		if mail.CheckAddress("to", address) != nil {
			return
		}
		if strings.ContainsAny(address, "\r\n\t <>,;\"") || strings.Count(address, "@") != 1 {
			t.Errorf("%q passes for one address", address)
		}
	})
}
