package gestor

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/saas-gestor/gestor/proto/fault"
)

// maxTitle is how many characters a name that people give may have.
const maxTitle = 100

// CheckTitle checks a name that people give to people and things, and see in lists: one line of text in which everything
// can be seen. It returns the form to keep, composed and without space around it. What could make a name look like
// another, or turn the text around it about, is refused: controls, marks of direction, invisible characters.
func CheckTitle(field, s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", fault.Invalid(field, "it is not valid UTF-8")
	}
	s = norm.NFC.String(strings.Trim(s, " "))
	switch n := utf8.RuneCountInString(s); {
	case n == 0:
		return "", fault.Invalid(field, "it is empty")
	case n > maxTitle:
		return "", fault.Invalid(field, "it has %d characters, %d are allowed", n, maxTitle)
	}
	if r, ok := unseen(s); ok {
		return "", fault.Invalid(field, "it holds the character %U, which cannot be seen or changes how text is read", r).WithFix("take it out")
	}
	if !strings.ContainsFunc(s, func(r rune) bool { return unicode.In(r, unicode.L, unicode.N, unicode.S, unicode.P) }) {
		return "", fault.Invalid(field, "nothing of it can be seen").WithFix("write at least one letter")
	}
	return s, nil
}

// maxMarks is how many accents may be piled on one letter: more cover the lines around it.
const maxMarks = 4

// unseen finds the first character of s that has no place in a name.
func unseen(s string) (rune, bool) {
	var before rune
	marks := 0
	for _, r := range s {
		marks++
		if !unicode.Is(unicode.M, r) {
			marks = 0
		}
		if marks > maxMarks || !visible(r) && !joins(before, r) {
			return r, true
		}
		before = r
	}
	return 0, false
}

// visible reports whether r is a character of a line of text that can be seen. Of spaces only the common one is.
func visible(r rune) bool {
	switch r {
	case ' ':
		return true
	case 0x034f, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x2800, 0x3164, 0xffa0: // letters and signs that are drawn as nothing
		return false
	}
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S) && !unicode.Is(unicode.Variation_Selector, r) || r == emojiStyle
}

const emojiStyle = 0xfe0f

// joins reports whether r is one of the two invisible joiners where scripts and pictures need them: behind a character
// that is not Latin.
func joins(before, r rune) bool {
	return (r == 0x200c || r == 0x200d) && before > unicode.MaxLatin1 && visible(before)
}
