package web

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/language"

	"github.com/saas-gestor/gestor/proto/fault"
)

// texts are the words of the pages in one language, by key.
type texts map[string]string

var languages = []language.Tag{language.English, language.BrazilianPortuguese} // the first is the last resort

// catalogues are the words of all languages, read once.
var catalogues = sync.OnceValue(func() []texts {
	all := make([]texts, len(languages))
	for i, tag := range languages {
		raw, err := files.ReadFile("pages/" + tag.String() + ".json")
		if err == nil {
			err = json.Unmarshal(raw, &all[i])
		}
		if err != nil {
			panic("the words of the pages: " + err.Error())
		}
	}
	return all
})

// wordsOf finds the reader's language among ours.
func wordsOf(r *http.Request) (string, texts) {
	wanted, _, err := language.ParseAcceptLanguage(r.Header.Get("Accept-Language"))
	if err != nil {
		wanted = nil // whatever it says, it is not worth a refusal
	}
	_, i, _ := language.NewMatcher(languages).Match(wanted...)
	return languages[i].String(), catalogues()[i]
}

// inWords is a refusal as its reader sees it, on a page. Refusals are English; those that are frequent have words in the other
// languages, found by reason, or by page, kind and field, from the most exact on. "{}" stands for the English words.
func inWords(err error, t texts, name string) (text, fix string) {
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return t["internal"], ""
	}
	kind := string(f.Kind)
	for _, key := range []string{"!" + string(f.Reason), "!" + name + "/" + kind + "/" + f.Field, "!" + name + "/" + kind, "!" + kind} {
		if words, ok := t[key]; ok {
			text, fix, _ = strings.Cut(words, "|")
			return strings.ReplaceAll(text, "{}", f.Message), strings.TrimSpace(fix)
		}
	}
	return sentence(f.Message), sentence(f.Fix)
}

// sentence is a text of a refusal as a page shows it.
func sentence(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	if s == "" || first == utf8.RuneError {
		return s
	}
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(s[size:], ".") + "."
}
