package gestor

import (
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
)

// How long a token is good for.
const (
	TokenLifetime     = 90 * 24 * time.Hour  // if nobody says how long
	MostTokenLifetime = 366 * 24 * time.Hour // nobody looks after a token that outlives a year
)

// MostTokens is how many personal tokens a user, and service tokens a tenant, may have at once.
const MostTokens = 100

// CheckTokenLifetime checks how long a token is to be good for, and returns the default for none.
func CheckTokenLifetime(field string, d time.Duration) (time.Duration, error) {
	switch {
	case d == 0:
		return TokenLifetime, nil
	case d < time.Minute:
		return 0, fault.Invalid(field, "%s is too short for anything", d).WithFix("give it at least a minute")
	case d > MostTokenLifetime:
		return 0, fault.Invalid(field, "a token may live for %d days at most", int(MostTokenLifetime/(24*time.Hour))).
			WithFix("make a new one when it ends")
	}
	return d, nil
}
