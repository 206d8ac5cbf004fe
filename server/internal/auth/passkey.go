package auth

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Passkeys registers passkeys and checks what they sign. It keeps nothing: what was asked is in the caller's hands. The zero
// Passkeys refuses everything, with the reason.
type Passkeys struct {
	web *webauthn.WebAuthn
	why string // there are none
}

// NewPasskeys makes passkeys for a domain: that of the first public address, if domain is empty. Passkeys belong to the
// domain for good; a page of any of the addresses within it may ask for them.
func NewPasskeys(domain string, publicURLs []string) (Passkeys, error) {
	var origins []string
	for _, raw := range publicURLs {
		u, err := url.Parse(raw)
		if err != nil {
			return Passkeys{}, fmt.Errorf("passkeys: public address %q: %w", raw, err)
		}
		if domain == "" {
			domain = u.Hostname()
		}
		if host := u.Hostname(); host == domain || strings.HasSuffix(host, "."+domain) {
			origins = append(origins, "https://"+strings.TrimSuffix(u.Host, ":443"))
		}
	}
	switch {
	case net.ParseIP(domain) != nil:
		return Passkeys{why: "passkeys need a name, and " + domain + " is an address"}, nil
	case len(origins) == 0:
		return Passkeys{why: "no public address of this server is within the domain of the passkeys, " + domain}, nil
	}
	web, err := webauthn.New(&webauthn.Config{
		RPID: domain, RPDisplayName: "Gestor", RPOrigins: origins,
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementPreferred, UserVerification: protocol.VerificationPreferred,
		},
		// None is asked for and none is read, so what a password manager adds by itself is no reason to refuse it.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
	if err != nil {
		return Passkeys{}, fmt.Errorf("passkeys: %w", err)
	}
	return Passkeys{web: web}, nil
}

// Possible refuses where there can be no passkeys.
func (p Passkeys) Possible() error {
	if p.web != nil {
		return nil
	}
	return fault.Conflict("%s", p.why).WithFix("use an authenticator app, or set public_urls and passkey_domain in the servers' settings")
}

// holder is a user with their passkeys as webauthn knows them.
type holder struct {
	user    gestor.User
	factors []gestor.Factor
	creds   []webauthn.Credential
}

func newHolder(u gestor.User, factors []gestor.Factor) (holder, error) {
	h := holder{user: u}
	for _, f := range factors {
		if f.Kind != gestor.FactorPasskey {
			continue
		}
		var c webauthn.Credential
		if err := json.Unmarshal(f.Credential, &c); err != nil {
			return h, fmt.Errorf("read passkey %s: %w", f.ID, err)
		}
		c.Authenticator.SignCount = f.SignCount
		h.factors, h.creds = append(h.factors, f), append(h.creds, c)
	}
	return h, nil
}

func (h holder) WebAuthnID() []byte                         { return []byte(h.user.ID) }
func (h holder) WebAuthnName() string                       { return h.user.Email }
func (h holder) WebAuthnDisplayName() string                { return h.user.Email }
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.creds }

var _ webauthn.User = holder{}

// Register makes the options for a browser to make a passkey, and what must be given back with the result.
func (p Passkeys) Register(u gestor.User, factors []gestor.Factor) (options string, asked []byte, err error) {
	if err := p.Possible(); err != nil {
		return "", nil, err
	}
	h, err := newHolder(u, factors)
	if err != nil {
		return "", nil, err
	}
	creation, session, err := p.web.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.creds).CredentialDescriptors()))
	if err != nil {
		return "", nil, fmt.Errorf("begin to register a passkey: %w", err)
	}
	return packed(creation.Response, session)
}

// mostCredentialID bounds what names a passkey. Authenticators use 16 to 100 bytes.
const mostCredentialID = 512

// Registered checks what the browser made and fills in what a passkey's Factor keeps of it.
func (p Passkeys) Registered(u gestor.User, asked []byte, response string) (gestor.Factor, error) {
	if err := p.Possible(); err != nil {
		return gestor.Factor{}, err
	}
	h, session, err := unpacked(u, nil, asked)
	if err != nil {
		return gestor.Factor{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(response))
	if err != nil {
		return gestor.Factor{}, badPasskey(err)
	}
	c, err := p.web.CreateCredential(h, session, parsed)
	if err != nil {
		return gestor.Factor{}, badPasskey(err)
	}
	if len(c.ID) > mostCredentialID {
		return gestor.Factor{}, badPasskey(nil)
	}
	c.Attestation = webauthn.CredentialAttestation{} // nobody asks later who made the device
	record, err := json.Marshal(c)
	if err != nil {
		return gestor.Factor{}, fmt.Errorf("keep passkey: %w", err)
	}
	return gestor.Factor{
		Kind: gestor.FactorPasskey, UserID: u.ID, CredentialID: c.ID, Credential: record, SignCount: c.Authenticator.SignCount,
	}, nil
}

// Ask makes the options for a browser to use a passkey of a user.
func (p Passkeys) Ask(u gestor.User, factors []gestor.Factor) (options string, asked []byte, err error) {
	if err := p.Possible(); err != nil {
		return "", nil, err
	}
	h, err := newHolder(u, factors)
	if err != nil {
		return "", nil, err
	}
	assertion, session, err := p.web.BeginLogin(h, webauthn.WithUserVerification(protocol.VerificationPreferred))
	if err != nil {
		return "", nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	return packed(assertion.Response, session)
}

// AskAnybody makes the options for a browser to use a passkey that says whose it is, and makes sure who holds it.
func (p Passkeys) AskAnybody() (options string, asked []byte, err error) {
	if err := p.Possible(); err != nil {
		return "", nil, err
	}
	assertion, session, err := p.web.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return "", nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	return packed(assertion.Response, session)
}

// Answer is what a passkey has proved.
type Answer struct {
	Use      gestor.FactorUse // the caller sets until when the challenge could be answered
	Verified bool             // the device made sure who holds it
}

// Answered checks what a passkey of a user signed.
func (p Passkeys) Answered(u gestor.User, factors []gestor.Factor, asked []byte, response string) (Answer, error) {
	if err := p.Possible(); err != nil {
		return Answer{}, err
	}
	h, session, err := unpacked(u, factors, asked)
	if err != nil {
		return Answer{}, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(response))
	if err != nil {
		return Answer{}, badPasskey(err)
	}
	c, err := p.web.ValidateLogin(h, session, parsed)
	if err != nil {
		return Answer{}, badPasskey(err)
	}
	return h.used(c, session)
}

// AnsweredByAnybody checks what a passkey signed, and returns whose it is. Find finds a user with second factors.
func (p Passkeys) AnsweredByAnybody(
	asked []byte, response string, find func(gestor.UserID) (gestor.User, []gestor.Factor, error),
) (gestor.User, Answer, error) {
	var nobody gestor.User
	if err := p.Possible(); err != nil {
		return nobody, Answer{}, err
	}
	var session webauthn.SessionData
	if err := json.Unmarshal(asked, &session); err != nil {
		return nobody, Answer{}, fmt.Errorf("read what a passkey was asked: %w", err)
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(response))
	if err != nil {
		return nobody, Answer{}, badPasskey(err)
	}
	var h holder
	_, c, err := p.web.ValidatePasskeyLogin(func(_, id []byte) (webauthn.User, error) {
		u, factors, err := find(gestor.UserID(id))
		if err != nil {
			return nil, err
		}
		h, err = newHolder(u, factors)
		return h, err
	}, session, parsed)
	if err != nil {
		return nobody, Answer{}, badPasskey(err)
	}
	answer, err := h.used(c, session)
	return h.user, answer, err
}

// used is the use of a passkey that has signed. A counter that did not go up means that somebody else has the key too.
func (h holder) used(c *webauthn.Credential, session webauthn.SessionData) (Answer, error) {
	if c.Authenticator.CloneWarning {
		return Answer{}, badPasskey(nil)
	}
	for _, f := range h.factors {
		if string(f.CredentialID) == string(c.ID) {
			hash := sha256.Sum256([]byte(session.Challenge))
			use := gestor.FactorUse{Factor: f.ID, SignCount: c.Authenticator.SignCount, Challenge: gestor.Challenge{Hash: hash[:]}}
			return Answer{Use: use, Verified: c.Flags.UserVerified}, nil
		}
	}
	return Answer{}, badPasskey(nil)
}

// Synced reports whether a passkey is kept on several devices.
func Synced(f gestor.Factor) bool {
	var c webauthn.Credential
	return json.Unmarshal(f.Credential, &c) == nil && c.Flags.BackupState
}

func badPasskey(cause error) error {
	return fault.Unauthenticated("the passkey was not accepted").WithFix("try again, or use another second factor").WithCause(cause)
}

func packed(options any, session *webauthn.SessionData) (text string, asked []byte, err error) {
	o, err := json.Marshal(options)
	if err != nil {
		return "", nil, fmt.Errorf("write what a passkey is asked: %w", err)
	}
	asked, err = json.Marshal(session)
	if err != nil {
		return "", nil, fmt.Errorf("write what a passkey is asked: %w", err)
	}
	return string(o), asked, nil
}

func unpacked(u gestor.User, factors []gestor.Factor, asked []byte) (holder, webauthn.SessionData, error) {
	var session webauthn.SessionData
	h, err := newHolder(u, factors)
	if err != nil {
		return h, session, err
	}
	if err := json.Unmarshal(asked, &session); err != nil {
		return h, session, fmt.Errorf("read what a passkey was asked: %w", err)
	}
	return h, session, nil
}
