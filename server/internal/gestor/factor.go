package gestor

import "time"

// FactorKind is a sort of second factor.
type FactorKind string

// The kinds of second factors. Recovery codes are no Factor: they are for when those are lost.
const (
	FactorTOTP    FactorKind = "totp"    // an app that shows six digits
	FactorPasskey FactorKind = "passkey" // a key that a browser or a device keeps
)

// Factor is a second factor of a user.
type Factor struct {
	ID        FactorID
	TenantID  TenantID
	UserID    UserID
	Kind      FactorKind
	Name      string
	CreatedAt time.Time
	SeenAt    time.Time // when it was last used; zero if it was not
	Revision  uint64

	Secret []byte // of an app: sealed, see TOTPPlace
	Step   int64  // of an app: of the last code that was used

	CredentialID []byte      // of a passkey: what names it, in all the installation
	Credential   []byte      // of a passkey: the credential record, JSON
	SignCount    uint32      // of a passkey: how often it has signed; 0 where it does not count
	Challenges   []Challenge // of a passkey: those it has answered that could still be answered
}

// Challenge is one that a passkey has answered.
type Challenge struct {
	Hash  []byte // SHA-256
	Until time.Time
}

// FactorUse is one use of a second factor. It happens once: the state machine compares and sets.
type FactorUse struct {
	Factor    FactorID // empty for a recovery code
	Step      int64    // of an app
	SignCount uint32   // of a passkey
	Challenge Challenge
	Recovery  []byte // SHA-256 of a recovery code
}

// IsZero reports whether nothing was used.
func (u FactorUse) IsZero() bool { return u.Factor == "" && len(u.Recovery) == 0 }

// TOTPPlace is where the secret of a user's app is sealed.
func TOTPPlace(user UserID) string { return string(user) + "/totp" }

// RecoveryCode stands for a code that was written down. It is gone once it was used.
type RecoveryCode struct {
	UserID   UserID
	TenantID TenantID
	Hash     []byte // SHA-256
	Revision uint64
}

// Limits on second factors.
const (
	MostFactors    = 20 // of one user
	RecoveryCodes  = 10 // made at a time
	MostNetworks   = 20 // a user is known from
	MostChallenges = 32 // a passkey answers within the time of one
)

// Touch is the use of a session or a token.
type Touch struct {
	Session SessionID // or
	Token   TokenID
	At      time.Time
	From    string // network address
}
