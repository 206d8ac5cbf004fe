package auth

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

const (
	bearerPrefix = "gss_"
	bearerBytes  = 32
)

// bearerLength is the length of a token's text.
const bearerLength = len(bearerPrefix) + 43

// NewBearer makes a bearer token, "gss_" and 256 random bits, and the SHA-256 to store in its place.
func NewBearer() (token string, hash []byte) {
	token = bearerPrefix + base64.RawURLEncoding.EncodeToString(randomBytes(bearerBytes))
	return token, sum(token)
}

// HashBearer is the hash under which the session of token is found. It is false for what cannot be a token, so that
// nonsense costs no look-up.
func HashBearer(token string) ([]byte, bool) {
	if len(token) != bearerLength || !strings.HasPrefix(token, bearerPrefix) {
		return nil, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token[len(bearerPrefix):])
	if err != nil || len(raw) != bearerBytes {
		return nil, false
	}
	return sum(token), true
}

// BearerFrom takes the token out of an Authorization header; empty if there is none.
func BearerFrom(header string) string {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func sum(s string) []byte {
	h := sha256.Sum256([]byte(s))
	return h[:]
}
