package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Purpose says what a pending value is for. One for another purpose is worth nothing.
type Purpose string

// The purposes.
const (
	PendingSignIn         Purpose = "sign_in"         // a password was right, the second factor is missing
	PendingPasskeySignIn  Purpose = "passkey_sign_in" // a passkey alone is asked for
	PendingReauthenticate Purpose = "reauthenticate"  // a signed-in person is asked for a passkey
	PendingTOTP           Purpose = "totp"            // an app is being set up
	PendingPasskey        Purpose = "passkey"         // a passkey is being registered
)

// How long pending values work.
const (
	SignInFor = 5 * time.Minute
	EnrolFor  = 15 * time.Minute
)

// lifetime is how long a pending value of a purpose works.
func (p Purpose) lifetime() time.Duration {
	if p == PendingTOTP || p == PendingPasskey {
		return EnrolFor
	}
	return SignInFor
}

// Pending is what a person has proved, or was asked, so far. The client holds it, sealed, so that what is half done costs
// the servers nothing and any of them can go on with it.
type Pending struct {
	Purpose Purpose          `json:"p"`
	User    gestor.UserID    `json:"u,omitempty"` // empty where the passkey will tell
	Stamp   []byte           `json:"s,omitempty"` // of the user, see gestor.User.Stamp
	Session gestor.SessionID `json:"i,omitempty"` // that asked; of a signed-in person
	Network string           `json:"n,omitempty"` // that asked
	At      time.Time        `json:"a"`
	Seed    []byte           `json:"r"`           // random
	TOTP    string           `json:"t,omitempty"` // the secret of an app that is being set up
	Passkey []byte           `json:"k,omitempty"` // what a passkey was asked, JSON
}

// Until is when p stops working.
func (p Pending) Until() time.Time { return p.At.Add(p.Purpose.lifetime()) }

// Sealer seals values so that only the servers can read them, see secret.Ring.
type Sealer interface {
	Seal(plaintext []byte, place string) []byte
	Open(sealed []byte, place string) ([]byte, error)
}

func (p Purpose) place() string { return "pending/" + string(p) }

// SealPending is p for the client's hands. It draws the seed.
func SealPending(s Sealer, p Pending) (string, error) {
	p.Seed = randomBytes(32)
	text, err := json.Marshal(p)
	if err != nil {
		return "", fmt.Errorf("seal what is under way: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(s.Seal(text, p.Purpose.place())), nil
}

// mostAhead is how much faster the clock of the server that sealed a value may be.
const mostAhead = time.Minute

// OpenPending reads what SealPending made for a purpose. One message stands for whatever is wrong with it.
func OpenPending(s Sealer, purpose Purpose, text, network string, now time.Time) (Pending, error) {
	var p Pending
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return p, startOver(err)
	}
	plain, err := s.Open(sealed, purpose.place())
	if err != nil {
		return p, startOver(err)
	}
	d := json.NewDecoder(bytes.NewReader(plain))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Pending{}, startOver(err)
	}
	if p.Purpose != purpose || p.Network != network || !now.Before(p.Until()) || p.At.After(now.Add(mostAhead)) {
		return Pending{}, startOver(nil)
	}
	return p, nil
}

func startOver(cause error) error {
	return fault.Unauthenticated("this took too long, or was begun elsewhere").WithFix("start again").WithCause(cause)
}
