package runtime

import (
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/saas-gestor/gestor/proto/fault"
)

// versions is a set of versions somebody asked for.
type versions struct {
	asked      string // as it was written
	text       string // as npm reads it
	constraint *semver.Constraints
}

var (
	tagged    = regexp.MustCompile(`(^|[\s<>=^~|-])v(\d)`)
	safeRange = regexp.MustCompile(`^[0-9A-Za-z.*<>=^~|+\s-]+$`)
)

// parseVersions understands what .nvmrc and engines hold: npm's ranges, "v22", "lts/*", "lts/jod", "latest".
func parseVersions(asked string) (versions, error) {
	text := strings.TrimSpace(asked)
	switch strings.ToLower(text) {
	case "", "*", "latest", "node", "current", "stable", "x":
		text = "*"
	case "lts/*", "lts", "--lts":
		text = "20.x || 22.x || 24.x || 26.x"
	case "lts/hydrogen":
		text = "18.x"
	case "lts/iron":
		text = "20.x"
	case "lts/jod":
		text = "22.x"
	case "lts/krypton":
		text = "24.x"
	}
	text = tagged.ReplaceAllString(text, "$1$2")
	c, err := semver.NewConstraint(text)
	if err != nil || !safeRange.MatchString(text) || len(text) > 200 {
		return versions{}, fault.Invalid("runtime", "%q is not a range of versions", asked).
			WithFix(`write it like "22", "22.x" or ">=20 <23"`)
	}
	return versions{asked: asked, text: text, constraint: c}, nil
}

// admits tells whether a version is in the set.
func (v versions) admits(version string) bool {
	parsed, err := semver.StrictNewVersion(version)
	return err == nil && v.constraint.Check(parsed)
}

// newest is the highest of the given versions that is in the set; empty if none is.
func (v versions) newest(have []string) string {
	best := ""
	for _, h := range have {
		if v.admits(h) && (best == "" || less(best, h)) {
			best = h
		}
	}
	return best
}

func less(a, b string) bool {
	va, errA := semver.StrictNewVersion(a)
	vb, errB := semver.StrictNewVersion(b)
	return errA == nil && errB == nil && va.LessThan(vb)
}
