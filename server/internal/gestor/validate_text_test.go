package gestor

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/saas-gestor/gestor/proto/fault"
)

func TestCheckTitle_KeepsNamesOfPeopleEverywhere(t *testing.T) {
	for in, want := range map[string]string{
		"Ana Júlia d'Ávila":           "Ana Júlia d'Ávila",
		"  Loja & Cia. Ltda (SP)  ":   "Loja & Cia. Ltda (SP)",
		"Jose\u0301":                  "José",
		"李小龙":                         "李小龙",
		"محمد بن سلمان":               "محمد بن سلمان",
		"می\u200cخواهم":               "می\u200cخواهم",
		"👩\u200d💻 Dev":                "👩\u200d💻 Dev",
		strings.Repeat("é", maxTitle): strings.Repeat("é", maxTitle),
	} {
		if got, err := CheckTitle("name", in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
	}
}

func TestCheckTitle_RefusesWhatCannotBeSeenOrTurnsTextAbout(t *testing.T) {
	for name, s := range map[string]string{
		"nothing": "", "only space": "   ", "too long": strings.Repeat("é", maxTitle+1), "not UTF-8": "a\xff",
		"line end": "a\nb", "carriage return": "a\rb", "tab": "a\tb", "escape": "\x1b[31mred", "bell": "a\ab", "nul": "a\x00b", "C1": "a\u0085b",
		"line separator": "a\u2028b", "no-break space": "a\u00a0b", "byte order mark": "\ufeffa",
		"right-to-left override": "abc\u202egnp.exe", "left-to-right override": "a\u202db", "embedding": "a\u202ab", "pop": "a\u202cb",
		"isolate": "a\u2066b", "pop isolate": "a\u2069b", "left-to-right mark": "a\u200eb", "right-to-left mark": "\u200fadmin", "arabic mark": "a\u061cb",
		"zero width space": "ad\u200bmin", "word joiner": "a\u2060b", "soft hyphen": "a\u00adb", "joiner in Latin": "ad\u200cmin", "tag": "a\U000e0041b",
		"filler": "\u3164", "braille blank": "\u2800", "private use": "a\ue000b", "unassigned": "a\U0003fff0b", "piled accents": "a" + strings.Repeat("\u0310", 5),
		"only accents": "\u0301\u0301", "variation selector": "a\ufe00b",
	} {
		if got, err := CheckTitle("name", s); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%s: %q passed as %q, %v", name, s, got, err)
		}
	}
}

func FuzzCheckTitle_GivesOnlyLinesThatShowWhatTheyAre(f *testing.F) {
	for _, s := range []string{"Ana", "abc\u202egnp.exe", "Jose\u0301", "می\u200cخواهم", " a\u200b ", "\x1b[2J"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := CheckTitle("name", s)
		if err != nil {
			if got != "" || !errors.Is(err, fault.KindInvalid) || !utf8.ValidString(err.Error()) || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Fatalf("%q: got %q, %v", s, got, err)
			}
			return
		}
		again, err := CheckTitle("name", got)
		if err != nil || again != got || !norm.NFC.IsNormalString(got) || utf8.RuneCountInString(got) > maxTitle {
			t.Fatalf("%q became %q, then %q, %v", s, got, again, err)
		}
		for _, r := range got {
			bidi := r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x61c
			if bidi || isControl(r) || unicode.IsSpace(r) && r != ' ' {
				t.Fatalf("%q passed with %U", got, r)
			}
		}
	})
}

func TestCheckEmail_KeepsOneFormOfAnAddress(t *testing.T) {
	for in, want := range map[string]string{
		"ana@example.com":          "ana@example.com",
		" Ana.Silva+x@Example.COM": "ana.silva+x@example.com", //nolint:gocritic // the space is the point
		"o'brien@example.ie":       "o'brien@example.ie",
		"ana@loja.münchen.de":      "ana@loja.xn--mnchen-3ya.de",
		"ana@xn--mnchen-3ya.de":    "ana@xn--mnchen-3ya.de",
		"ana@localhost":            "ana@localhost",
		"1@2.example":              "1@2.example",
	} {
		if got, err := CheckEmail("email", in); err != nil || got != want {
			t.Errorf("%q: got %q, %v", in, got, err)
		}
		if FoldEmail(in) != want {
			t.Errorf("%q is looked up as %q", in, FoldEmail(in))
		}
	}
}

func TestCheckEmail_RefusesWhatMailProgramsReadAsMoreThanAnAddress(t *testing.T) {
	for _, s := range []string{
		"", "@", "a@", "@b.example", "a", "a b@c.example", "a@b@c.example", "\"a b\"@c.example", "a(comment)@c.example", "Ana <a@c.example>",
		"a@[10.0.0.1]", "a@10.0.0.1", "a@1.2", "a%b@c.example", "a!b@c.example", "a@c.example,b@c.example", "a@c.example\nBcc: x@y.example", "a@c.example\r",
		"a\x00@c.example", "a\u202eb@c.example", "ána@c.example", "a@c..example", "a@.example", "a@-c.example", "a@c_d.example", "a@c.example/x",
		".a@c.example", "a.@c.example", "a..b@c.example", "-oProxy@c.example", "a`b@c.example", "a|b@c.example", "a$b@c.example", "a@c\u200b.example\u202e",
		"\u212aate@c.example", strings.Repeat("a", 65) + "@c.example", "a@" + strings.Repeat("c.", 130) + "example", "a@xn--0.example", "a;b@c.example", "a:b@c.example",
		"a@c.example\t", "a@аpple.\u202ecom",
	} {
		if got, err := CheckEmail("email", s); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%q passed as %q, %v", s, got, err)
		}
	}
}

func TestCheckEmail_ShowsDomainsThatLookAlikeAsWhatTheyAre(t *testing.T) {
	got, err := CheckEmail("email", "ana@\u0430pple.com") // the first letter is Cyrillic
	if err != nil || !strings.Contains(got, "xn--") {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzCheckEmail_GivesOnlyPlainAddresses(f *testing.F) {
	for _, s := range []string{"ana@example.com", "a@münchen.de", "\"a\"@b.example", "a@b.example\r\nBcc: c@d.example", "a@[::1]", "A@B.example", "0@0\xac"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := CheckEmail("email", s)
		if err != nil {
			if got != "" || !errors.Is(err, fault.KindInvalid) || strings.ContainsFunc(err.Error(), unicode.IsControl) {
				t.Fatalf("%q: got %q, %v", s, got, err)
			}
			return
		}
		if again, err := CheckEmail("email", got); err != nil || again != got {
			t.Fatalf("%q became %q, then %q, %v", s, got, again, err)
		}
		if strings.ToLower(got) != got || strings.Count(got, "@") != 1 || len(got) > maxEmail || strings.ContainsAny(got, " \"<>()[],:;\\%!|`$") ||
			strings.ContainsFunc(got, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
			t.Fatalf("%q passed as %q", s, got)
		}
	})
}
