package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
)

const (
	tokenPrefix      = "gst1"
	tokenIDBytes     = 6
	tokenSecretBytes = 24
)

// JoinToken lets one host become a node. Its text is "gst1.<pin>.<id>.<secret>": the pin of the servers' root, so that the
// host knows whom it talks to before it shows the secret, the id under which the servers find the token, and the
// secret, of which they store only the hash.
type JoinToken struct {
	Pin    []byte // SHA-256 of the public key of the servers' root
	ID     string // 48 random bits, hex
	Secret string // 192 random bits, base64url without padding
}

// NewJoinToken makes a token for the servers under the root with that pin.
func NewJoinToken(pin []byte) JoinToken {
	return JoinToken{
		Pin:    bytes.Clone(pin),
		ID:     hex.EncodeToString(random(tokenIDBytes)),
		Secret: base64.RawURLEncoding.EncodeToString(random(tokenSecretBytes)),
	}
}

// String is the text people carry to the host. It is a secret.
func (t JoinToken) String() string {
	return strings.Join([]string{tokenPrefix, hex.EncodeToString(t.Pin), t.ID, t.Secret}, ".")
}

// errToken never shows the text: it may be a secret with a typing error.
var errToken = errors.New(`not a join token; it looks like "gst1.<64 hex digits>.<12 hex digits>.<32 characters>": copy it whole`)

// ParseJoinToken reads the text form, strictly: each token has one spelling.
func ParseJoinToken(s string) (JoinToken, error) {
	parts := strings.Split(s, ".")
	if len(parts) != 4 || parts[0] != tokenPrefix {
		return JoinToken{}, errToken
	}
	pin, err := hex.DecodeString(parts[1])
	if err != nil || len(pin) != sha256.Size {
		return JoinToken{}, errToken
	}
	id, err := hex.DecodeString(parts[2])
	if err != nil || len(id) != tokenIDBytes {
		return JoinToken{}, errToken
	}
	secret, err := base64.RawURLEncoding.Strict().DecodeString(parts[3])
	if err != nil || len(secret) != tokenSecretBytes {
		return JoinToken{}, errToken
	}
	// Printed from the decoded parts: the decoders take upper-case digits and line ends, this does not.
	t := JoinToken{Pin: pin, ID: hex.EncodeToString(id), Secret: base64.RawURLEncoding.EncodeToString(secret)}
	if t.String() != s {
		return JoinToken{}, errToken
	}
	return t, nil
}

// HashSecret is what servers store of a random secret: of join tokens, bearer tokens and the setup secret. A fast hash is enough
// for 192 random bits and more; passwords need auth.HashPassword.
func HashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// SameHash compares hashes in constant time.
func SameHash(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: see crypto/rand
	return b
}
