package auth

import (
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
)

// TOTPStep is how long a code of an app is shown.
const TOTPStep = 30 * time.Second

// totpSteps is how many steps the app's clock may be off, either way.
const totpSteps = 1

// NewTOTP makes the secret of an app: as base32 text, and as the address that a QR code carries.
func NewTOTP(email string) (secret, uri string, err error) {
	key, err := totp.Generate(totp.GenerateOpts{Issuer: "Gestor", AccountName: email, SecretSize: 20})
	if err != nil {
		return "", "", fmt.Errorf("make the secret of an app: %w", err)
	}
	return key.Secret(), key.URL(), nil
}

// TOTPCode is what an app with a secret shows at a time.
func TOTPCode(secret string, at time.Time) (string, error) {
	return totp.GenerateCodeCustom(secret, at, totp.ValidateOpts{Period: uint(TOTPStep / time.Second), Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
}

// CheckTOTP finds the step of a code, which must be later than the last that was used, and close to now.
func CheckTOTP(secret, code string, now time.Time, last int64) (step int64, ok bool) {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	if len(code) != otp.DigitsSix.Length() {
		return 0, false
	}
	seconds := int64(TOTPStep / time.Second)
	current := now.Unix() / seconds
	for s := current - totpSteps; s <= current+totpSteps; s++ {
		want, err := TOTPCode(secret, time.Unix(s*seconds, 0))
		if err == nil && s > last && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return s, true
		}
	}
	return 0, false
}
