package auth_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

func TestCheckTOTP_TakesOneStepEitherWayAndNoneTwice(t *testing.T) {
	text, uri, err := auth.NewTOTP("ana@example.com")
	if err != nil || !strings.Contains(uri, "secret="+text) || len(text) != 32 {
		t.Fatalf("got %s, %s, %v", text, uri, err)
	}
	now := time.Unix(1_800_000_000, 0)
	for steps := -3; steps <= 3; steps++ {
		code, err := auth.TOTPCode(text, now.Add(time.Duration(steps)*auth.TOTPStep))
		if err != nil {
			t.Fatal(err)
		}
		step, ok := auth.CheckTOTP(text, " "+code[:3]+" "+code[3:], now, 0)
		if near := steps >= -1 && steps <= 1; ok != near {
			t.Errorf("%d steps off: %v", steps, ok)
		}
		if _, again := auth.CheckTOTP(text, code, now, step); ok && again {
			t.Errorf("%d steps off: taken twice", steps)
		}
	}
	if _, ok := auth.CheckTOTP("not base32 !", "000000", now, 0); ok {
		t.Error("a secret that is none has codes")
	}
}

func TestRecoveryCodes_AreFoundHoweverTheyAreTyped(t *testing.T) {
	codes, hashes, err := auth.NewRecoveryCodes([]byte("seed"))
	if err != nil || len(codes) != gestor.RecoveryCodes || len(hashes) != len(codes) {
		t.Fatalf("got %v, %v", codes, err)
	}
	again, _, err := auth.NewRecoveryCodes([]byte("seed"))
	if err != nil || !slices.Equal(codes, again) {
		t.Error("the same seed makes other codes")
	}
	random, _, err := auth.NewRecoveryCodes(nil)
	if err != nil || slices.Equal(codes, random) {
		t.Error("without a seed the codes are known")
	}
	seen := map[string]bool{}
	for i, code := range codes {
		seen[code] = true
		typed := " " + strings.ToUpper(strings.NewReplacer("-", " ", "o", "0", "l", "1", "b", "8").Replace(code))
		if hash, ok := auth.HashRecoveryCode(typed); !ok || !bytes.Equal(hash, hashes[i]) {
			t.Errorf("%q is not %s", typed, code)
		}
	}
	if len(seen) != len(codes) {
		t.Error("a code is there twice")
	}
	for _, bad := range []string{"", "aaaa", codes[0] + "a", codes[0][1:], strings.Replace(codes[0], codes[0][:1], "!", 1)} {
		if _, ok := auth.HashRecoveryCode(bad); ok {
			t.Errorf("took %q", bad)
		}
	}
}

func newRing(t testing.TB) *secret.Ring {
	t.Helper()
	ring, err := secret.Create(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func TestPending_IsGoodForItsPurposeNetworkAndTimeAlone(t *testing.T) {
	ring, now := newRing(t), time.Unix(1_800_000_000, 0)
	p := auth.Pending{Purpose: auth.PendingSignIn, User: "usr_1", Network: "192.0.2.0/24", At: now}
	text, err := auth.SealPending(ring, p)
	if err != nil || strings.Contains(text, "usr_1") {
		t.Fatalf("got %s, %v", text, err)
	}
	other, err := auth.SealPending(ring, p)
	if err != nil || other == text {
		t.Error("two values are the same")
	}
	for name, c := range map[string]struct {
		purpose auth.Purpose
		network string
		at      time.Time
		good    bool
	}{
		"good":            {auth.PendingSignIn, "192.0.2.0/24", now, true},
		"late":            {auth.PendingSignIn, "192.0.2.0/24", now.Add(auth.SignInFor - time.Second), true},
		"too late":        {auth.PendingSignIn, "192.0.2.0/24", now.Add(auth.SignInFor), false},
		"a slower clock":  {auth.PendingSignIn, "192.0.2.0/24", now.Add(-time.Minute), true},
		"of the future":   {auth.PendingSignIn, "192.0.2.0/24", now.Add(-2 * time.Minute), false},
		"another network": {auth.PendingSignIn, "198.51.100.0/24", now, false},
		"another purpose": {auth.PendingReauthenticate, "192.0.2.0/24", now, false},
	} {
		got, err := auth.OpenPending(ring, c.purpose, text, c.network, c.at)
		if (err == nil) != c.good || c.good && (got.User != "usr_1" || len(got.Seed) != 32) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	if _, err := auth.OpenPending(newRing(t), auth.PendingSignIn, text, "192.0.2.0/24", now); err == nil {
		t.Error("another installation's value is taken")
	}
}

func TestPasskeys_NeedANameWithinTheirDomain(t *testing.T) {
	for _, c := range []struct {
		domain string
		urls   []string
		ok     bool
	}{
		{"", []string{"https://ctl.example:8443"}, true},
		{"example.com", []string{"https://ctl1.example.com", "https://ctl2.example.com"}, true},
		{"", []string{"https://192.0.2.7:8443"}, false},
		{"", []string{"https://[2001:db8::1]"}, false},
		{"example.org", []string{"https://ctl.example.com"}, false},
		{"ample.com", []string{"https://ctl.example.com"}, false},
	} {
		p, err := auth.NewPasskeys(c.domain, c.urls)
		if err != nil || (p.Possible() == nil) != c.ok {
			t.Errorf("%+v: %v, %v", c, err, p.Possible())
		}
		if _, _, err := p.AskAnybody(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func FuzzOpenPending_TakesOnlyWhatWasSealed(f *testing.F) {
	ring, now := newRing(f), time.Unix(1_800_000_000, 0)
	good, err := auth.SealPending(ring, auth.Pending{Purpose: auth.PendingSignIn, User: "usr_1", At: now})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[1:])
	f.Add("\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := auth.OpenPending(ring, auth.PendingSignIn, text, "", now); err == nil && text != good {
			t.Fatalf("took %q", text)
		}
	})
}

func FuzzCodes_NeverPanicAndNeverMatch(f *testing.F) {
	f.Add("123 456")
	f.Add("aaaa-bbbb-cccc-dddd")
	f.Add("\xff\u202e０１２３４５")
	f.Fuzz(func(t *testing.T, typed string) {
		now := time.Unix(1_800_000_000, 0)
		if step, ok := auth.CheckTOTP("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", typed, now, now.Unix()); ok {
			t.Fatalf("%q is a code of step %d", typed, step)
		}
		if hash, ok := auth.HashRecoveryCode(typed); ok && len(hash) != 32 {
			t.Fatalf("%q has the hash %x", typed, hash)
		}
	})
}
