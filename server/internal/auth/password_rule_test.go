package auth

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/saas-gestor/gestor/proto/fault"
)

func TestCheckPassword_CountsLengthAndRefusesWhatGuessersTryFirst(t *testing.T) {
	for password, ok := range map[string]bool{
		"correct horse battery":       true,
		"aaaabbbbccccdddd":            true, // no rule of composition
		"düsseldorf im mai":           true,
		"пароль это не":               true,
		"ééééééééé":                   false, // nine characters, eighteen bytes
		"short pass":                  true,
		"short pas":                   false,
		strings.Repeat("ab1", 4):      false,
		"aaaaaaaaaaaa":                false,
		"1234567890":                  false,
		"password123":                 false,
		"Password2026!":               false,
		"!!manchester!!":              false,
		"basketballbasketball":        false,
		"QWERTYUIOP":                  false,
		"my ana.silva password":       false,
		"MY ANA.SILVA PASSWORD":       false,
		"gestor-production":           false,
		"the GeStOr of it":            false,
		strings.Repeat("x y z ", 100): false,
	} {
		err := CheckPassword("password", password, "ana.silva@example.com")
		if (err == nil) != ok {
			t.Errorf("%q: got %v", password, err)
		}
		if err != nil && (!errors.Is(err, fault.KindInvalid) || strings.Contains(err.Error(), password)) {
			t.Errorf("%q: got %v", password, err)
		}
	}
	if err := CheckPassword("password", "banana and pear", "an@example.com"); err != nil {
		t.Errorf("a short name is found in everything: %v", err)
	}
}

func TestBreached_IsASortedListOfWhichEveryWordIsFound(t *testing.T) {
	list := breached()
	words := strings.Split(strings.TrimSuffix(string(list), "\n"), "\n")
	if len(words) < 10_000 || !slices.IsSorted(words) || !bytes.HasSuffix(list, []byte("\n")) {
		t.Fatalf("%d words, sorted %v", len(words), slices.IsSorted(words))
	}
	for i, word := range words {
		if i%7 == 0 && !list.holds(word) || word != strings.ToLower(word) || len(word) < 8 {
			t.Fatalf("line %d, %q", i, word)
		}
	}
	if !list.holds(words[0]) || !list.holds(words[len(words)-1]) {
		t.Error("the first or the last word is not found")
	}
	for _, word := range []string{"", "\n", words[0][:3], words[5] + "\n" + words[6], "zzzzzzzzzzzzzzzzzz", "!"} {
		if list.holds(word) {
			t.Errorf("%q is on the list", word)
		}
	}
}

func TestVerify_TakesThePasswordOfEveryKeyboard(t *testing.T) {
	p := NewPasswords(1)
	composed, apart := "caf\u00e9 au lait", norm.NFD.String("caf\u00e9 au lait")
	phc, err := p.Hash(t.Context(), apart)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{composed, apart} {
		if ok, err := p.Verify(t.Context(), phc, password); err != nil || !ok {
			t.Errorf("%q: got %v, %v", password, ok, err)
		}
	}
}

func TestVerify_WorksAsMuchForNobodyAsForSomebody(t *testing.T) {
	p := NewPasswords(1)
	phc, err := p.Hash(t.Context(), "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	for _, stored := range []string{phc, ""} {
		before := p.Runs()
		if ok, err := p.Verify(t.Context(), stored, "wrong horse battery"); ok || err != nil {
			t.Fatalf("got %v, %v", ok, err)
		}
		if got := p.Runs() - before; got != 1 {
			t.Errorf("%q: %d runs of argon2id", stored, got)
		}
	}
}

func FuzzCheckPassword_TakesOnlyWhatIsLongEnough(f *testing.F) {
	f.Add("correct horse battery", "ana@example.com")
	f.Add("\xff\xfe", "@")
	f.Fuzz(func(t *testing.T, password, email string) {
		if err := CheckPassword("password", password, email); err != nil {
			if !errors.Is(err, fault.KindInvalid) {
				t.Fatalf("%q: %v", password, err)
			}
			return
		}
		n := NormalPassword(password)
		if utf8.RuneCountInString(n) < LeastPassword || len(n) > MostPassword || strings.Contains(strings.ToLower(n), "gestor") {
			t.Fatalf("took %q", password)
		}
	})
}

// BenchmarkVerify compares an address that somebody has with one that nobody has: the times are to be the same.
func BenchmarkVerify(b *testing.B) {
	p := NewPasswords(1)
	phc, err := p.Hash(b.Context(), "correct horse battery")
	if err != nil {
		b.Fatal(err)
	}
	for name, stored := range map[string]string{"known": phc, "unknown": ""} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Verify(b.Context(), stored, "wrong horse battery"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
