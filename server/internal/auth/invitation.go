package auth

import (
	"encoding/base64"
	"strings"
)

const (
	invitationPrefix = "gsi_"
	invitationBytes  = 32
	invitationLength = len(invitationPrefix) + 43
)

// NewInvitation makes the secret of an invitation's link, "gsi_" and 256 random bits, and the SHA-256 to store in its place.
func NewInvitation() (secret string, hash []byte) {
	secret = invitationPrefix + base64.RawURLEncoding.EncodeToString(randomBytes(invitationBytes))
	return secret, sum(secret)
}

// HashInvitation is the hash under which the invitation of a secret is found. It is false for what cannot be one, so that
// nonsense costs no look-up.
func HashInvitation(secret string) ([]byte, bool) {
	rest, ok := strings.CutPrefix(secret, invitationPrefix)
	if !ok || len(secret) != invitationLength {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(raw) != invitationBytes {
		return nil, false
	}
	return sum(secret), true
}
