package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

const (
	recoveryBytes = 10 // 80 bits, which need no slow hash
	recoveryGroup = 4  // characters together, as people read them
)

var recoveryText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// NewRecoveryCodes makes recovery codes and the SHA-256 of each to store in its place. The same seed makes the same codes,
// so that an answer that was lost can be given again; nil draws one.
func NewRecoveryCodes(seed []byte) (codes []string, hashes [][]byte, err error) {
	if seed == nil {
		seed = randomBytes(sha256.Size)
	}
	raw, err := hkdf.Key(sha256.New, seed, nil, "gestor recovery codes", gestor.RecoveryCodes*recoveryBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("make recovery codes: %w", err)
	}
	for ; len(raw) > 0; raw = raw[recoveryBytes:] {
		code := recoveryText.EncodeToString(raw[:recoveryBytes])
		codes = append(codes, Grouped(code, "-"))
		hashes = append(hashes, sum(code))
	}
	return codes, hashes, nil
}

// Grouped is s with a separator after every four characters.
func Grouped(s, separator string) string {
	var parts []string
	for ; len(s) > recoveryGroup; s = s[recoveryGroup:] {
		parts = append(parts, s[:recoveryGroup])
	}
	return strings.Join(append(parts, s), separator)
}

// HashRecoveryCode is the hash under which a recovery code is found, however it was typed. It is false for what cannot be one.
func HashRecoveryCode(typed string) ([]byte, bool) {
	code := strings.NewReplacer("-", "", " ", "", "0", "o", "1", "l", "8", "b").Replace(strings.ToLower(strings.TrimSpace(typed)))
	raw, err := recoveryText.DecodeString(code)
	if err != nil || len(raw) != recoveryBytes || recoveryText.EncodeToString(raw) != code {
		return nil, false
	}
	return sum(code), true
}
