package auth

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the list of breached passwords
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/saas-gestor/gestor/proto/fault"
)

// The bounds of a password: characters after normalisation, and bytes.
const (
	LeastPassword = 10
	MostPassword  = 512
)

// NormalPassword is the form in which a password is hashed and compared: the same letters typed on two keyboards are the
// same bytes.
func NormalPassword(password string) string { return norm.NFC.String(password) }

// CheckPassword checks a new password. Length is what counts, not which sorts of characters there are; refused are those that
// guessers try first: passwords that became known in breaches, the person's address, the product's name, and little repeated.
// email is whose it is.
func CheckPassword(field, password, email string) error {
	password = NormalPassword(password)
	switch {
	case utf8.RuneCountInString(password) < LeastPassword:
		return fault.Invalid(field, "it has fewer than %d characters", LeastPassword).WithFix("a few words that only you put together are good")
	case len(password) > MostPassword:
		return fault.Invalid(field, "it has more than %d bytes", MostPassword)
	}
	folded := strings.ToLower(password)
	local, _, _ := strings.Cut(strings.ToLower(email), "@")
	switch {
	case utf8.RuneCountInString(local) >= leastName && strings.Contains(folded, local), email != "" && folded == strings.ToLower(email):
		return fault.Invalid(field, "it holds your address").WithFix("choose one that nobody guesses who knows you")
	case strings.Contains(folded, "gestor"):
		return fault.Invalid(field, "it holds the name of this program").WithFix("choose one that nobody guesses who knows what it is for")
	case isRepeated(folded):
		return fault.Invalid(field, "it is a little text again and again").WithFix("a few words that only you put together are good")
	case isBreached(folded):
		return fault.Invalid(field, "it is, or is made of, a password that became known in a breach").
			WithFix("a few words that only you put together are good")
	}
	return nil
}

// leastName is the shortest name that a password must not hold: shorter ones are in every other word.
const leastName = 4

// isRepeated reports whether s is at most four characters again and again: "aaaaaaaaaa", "1212121212".
func isRepeated(s string) bool {
	runes := []rune(s)
	for unit := 1; unit <= 4; unit++ {
		same := true
		for i := unit; i < len(runes) && same; i++ {
			same = runes[i] == runes[i-unit]
		}
		if same {
			return true
		}
	}
	return false
}

// isBreached reports whether a password in lower case is on the list, also with digits and signs before or behind it, or said
// twice: guessers do as much.
func isBreached(s string) bool {
	list := breached()
	bare := strings.TrimFunc(s, func(r rune) bool { return !unicode.IsLetter(r) })
	half := s[:len(s)/2]
	return list.holds(s) || list.holds(bare) || s == half+half && list.holds(half)
}

// breachedList is the passwords of at least eight characters out of the list of frequent ones of zxcvbn-ts 4.1.3, in lower
// case, sorted, one a line; its licence is in breached.LICENSE.
//
//go:embed breached.txt.gz
var breachedList []byte

// wordList is sorted lines.
type wordList []byte

// breached unpacks the list once: 170 kB, as long as the server runs.
var breached = sync.OnceValue(func() wordList {
	r, err := gzip.NewReader(bytes.NewReader(breachedList))
	if err != nil {
		panic(fmt.Sprintf("the list of breached passwords is damaged: %v", err))
	}
	text, err := io.ReadAll(r)
	if err != nil {
		panic(fmt.Sprintf("the list of breached passwords is damaged: %v", err))
	}
	return text
})

// holds looks for a line by halves.
func (l wordList) holds(word string) bool {
	if word == "" || strings.ContainsRune(word, '\n') {
		return false
	}
	low, high := 0, len(l) // both begin a line, or end the list
	for low < high {
		middle := low + (high-low)/2
		begin := bytes.LastIndexByte(l[:middle], '\n') + 1
		end := begin + bytes.IndexByte(l[begin:], '\n')
		switch line := string(l[begin:end]); {
		case line == word:
			return true
		case line < word:
			low = end + 1
		default:
			high = begin
		}
	}
	return false
}
