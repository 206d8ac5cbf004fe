package auth

import (
	"strings"
	"testing"
)

func TestInvitation_IsFoundByItsHashAndNonsenseIsNot(t *testing.T) {
	secret, hash := NewInvitation()
	if got, ok := HashInvitation(secret); !ok || string(got) != string(hash) || strings.ContainsAny(secret, "#?&/ ") {
		t.Fatalf("%s: %x %v", secret, got, ok)
	}
	session, _ := NewBearer()
	for _, bad := range []string{"", "gsi_", secret + "x", secret[:len(secret)-1], session, "gss_" + secret[4:], secret[:10] + "\n" + secret[11:]} {
		if _, ok := HashInvitation(bad); ok {
			t.Errorf("took %q", bad)
		}
	}
}
