package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Bearer is what sort of secret somebody shows. It opens the secret's text.
type Bearer string

// The sorts of secrets. Their texts have the same length.
const (
	BearerSession  Bearer = "gss_"
	BearerPersonal Bearer = "gst_"
	BearerService  Bearer = "gsv_"
)

const (
	prefixBytes = 4
	bearerBytes = 32
	// bearerLength is the length of a secret's text.
	bearerLength = prefixBytes + 43
)

// NewBearer makes the token of a session, "gss_" and 256 random bits, and the SHA-256 to store in its place.
func NewBearer() (token string, hash []byte) { return newSecret(BearerSession) }

// NewToken makes the secret of a machine's token and the SHA-256 to store in its place.
func NewToken(kind gestor.TokenKind) (secret string, hash []byte) {
	if kind == gestor.TokenService {
		return newSecret(BearerService)
	}
	return newSecret(BearerPersonal)
}

func newSecret(b Bearer) (secret string, hash []byte) {
	secret = string(b) + base64.RawURLEncoding.EncodeToString(randomBytes(bearerBytes))
	return secret, sum(secret)
}

// HashBearer is the hash under which what a secret opens is found, and its sort. It is false for what cannot be one, so that
// nonsense costs no look-up.
func HashBearer(secret string) ([]byte, Bearer, bool) {
	if len(secret) != bearerLength {
		return nil, "", false
	}
	b := Bearer(secret[:prefixBytes])
	if b != BearerSession && b != BearerPersonal && b != BearerService {
		return nil, "", false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(secret[prefixBytes:])
	if err != nil || len(raw) != bearerBytes {
		return nil, "", false
	}
	return sum(secret), b, true
}

// BearerFrom takes the token out of an Authorization header; empty if there is none.
func BearerFrom(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// IdleAfter is how long a session lasts without being used.
const IdleAfter = 12 * time.Hour

// SeenEvery is how exactly the use of sessions and tokens is recorded.
const SeenEvery = 10 * time.Minute

// SessionEnded reports whether a session is over by the clock.
func SessionEnded(s gestor.Session, now time.Time) bool {
	return !now.Before(s.ExpiresAt) || !s.SeenAt.IsZero() && now.Sub(s.SeenAt) >= IdleAfter
}

// TokenEnded reports whether a token is over by the clock.
func TokenEnded(t gestor.Token, now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}
