package logs

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
)

const (
	minSecret = 6  // bytes; shorter values would redact half of every log
	minLine   = 12 // bytes; of a line of a secret with several lines
	mask      = "[redacted]"
	keyBytes  = 4 // how many bytes of a pattern select its bucket
)

// Patterns are the forms in which secrets are looked for. It is read-only after NewPatterns and shared by streams.
type Patterns struct {
	byKey    map[uint32][]string // by the first four bytes, longest first
	filter   [1 << 16 / 64]uint64
	prefixes map[string]bool // the first 1, 2 and 3 bytes of every pattern
}

// NewPatterns makes the patterns of secrets of at least 6 bytes: as they are, each longer line of those with several
// lines, escaped as in JSON and in URLs, and in base64 at all three alignments. Values that are everyday words
// in the settings of programs are no secrets.
func NewPatterns(secrets []string) *Patterns {
	p := &Patterns{byKey: map[uint32][]string{}, prefixes: map[string]bool{}}
	all := map[string]bool{}
	for _, s := range secrets {
		for _, form := range forms(s) {
			if len(form) >= minSecret && !everyday(form) {
				all[form] = true
			}
		}
	}
	for form := range all {
		p.add(form)
	}
	for _, bucket := range p.byKey {
		slices.SortFunc(bucket, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	}
	return p
}

func (p *Patterns) add(form string) {
	key := keyOf([]byte(form))
	p.byKey[key] = append(p.byKey[key], form)
	p.filter[hash(key)/64] |= 1 << (hash(key) % 64)
	for n := 1; n < keyBytes; n++ {
		p.prefixes[form[:n]] = true
	}
}

// candidates returns the patterns that begin like b, which has at least four bytes.
func (p *Patterns) candidates(b []byte) []string {
	key := keyOf(b)
	if p.filter[hash(key)/64]&(1<<(hash(key)%64)) == 0 {
		return nil
	}
	return p.byKey[key]
}

func keyOf(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func hash(key uint32) uint32 { return key * 2654435761 >> 16 }

func everyday(s string) bool {
	switch strings.ToLower(s) {
	case "production", "development", "staging", "preview", "localhost", "127.0.0.1", "0.0.0.0", "default",
		"enabled", "disabled", "verbose", "warning":
		return true
	}
	return false
}

func forms(secret string) []string {
	if len(secret) < minSecret {
		return nil
	}
	all := encodings(secret)
	if trimmed := strings.TrimSpace(secret); trimmed != secret && len(trimmed) >= minSecret {
		all = append(all, encodings(trimmed)...)
	}
	if lines := strings.FieldsFunc(secret, func(r rune) bool { return r == '\n' || r == '\r' }); len(lines) > 1 {
		for _, l := range lines {
			if l = strings.TrimSpace(l); len(l) >= minLine {
				all = append(all, l)
			}
		}
	}
	return all
}

func encodings(s string) []string {
	all := []string{s, url.QueryEscape(s), url.PathEscape(s)}
	if quoted, err := json.Marshal(s); err == nil {
		all = append(all, strings.Trim(string(quoted), `"`), jsonPlain(s))
	}
	for shift := range 3 {
		all = append(all, base64At(base64.RawStdEncoding, s, shift), base64At(base64.RawURLEncoding, s, shift))
	}
	return all
}

// jsonPlain is JSON as most other languages write it, without escaping <, > and &.
func jsonPlain(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return s
	}
	return strings.Trim(strings.TrimSuffix(b.String(), "\n"), `"`)
}

// base64At is the part of the base64 text of (shift bytes and then s) that depends on s alone.
func base64At(enc *base64.Encoding, s string, shift int) string {
	text := enc.EncodeToString(append(make([]byte, shift), s...))
	first := (shift*8 + 5) / 6
	last := (shift + len(s)) * 8 / 6
	return text[first:last]
}

// Redactor replaces secrets in one stream by "[redacted]". It keeps back only what may be the beginning of a secret.
type Redactor struct {
	p       *Patterns
	held    []byte // the beginning of a possible secret
	covered int    // how many bytes of held belong to a secret already replaced
}

// NewRedactor returns a redactor for a stream.
func NewRedactor(p *Patterns) *Redactor { return &Redactor{p: p} }

// Redact appends to out what is now known to be free of secrets.
func (r *Redactor) Redact(out, p []byte) []byte {
	if len(r.p.byKey) == 0 {
		return append(out, p...)
	}
	r.held = append(r.held, p...)
	return r.scan(out, false)
}

// Flush appends the rest, at the end of the stream.
func (r *Redactor) Flush(out []byte) []byte {
	out = r.scan(out, true)
	r.held, r.covered = r.held[:0], 0
	return out
}

func (r *Redactor) scan(out []byte, final bool) []byte {
	i := 0
	for ; i < len(r.held); i++ {
		rest := r.held[i:]
		n, wait := r.match(rest)
		if wait && !final {
			break
		}
		if n > 0 && r.covered == 0 {
			out = append(out, mask...)
		}
		r.covered = max(r.covered, n)
		if r.covered > 0 {
			r.covered--
			continue
		}
		out = append(out, rest[0])
	}
	r.held = append(r.held[:0], r.held[i:]...)
	return out
}

// match returns the length of the longest secret b begins with, and whether more bytes may make a longer one.
func (r *Redactor) match(b []byte) (n int, wait bool) {
	if len(b) < keyBytes {
		return 0, r.p.prefixes[string(b)]
	}
	for _, form := range r.p.candidates(b) {
		if len(form) > len(b) {
			wait = wait || strings.HasPrefix(form, string(b))
		} else if n == 0 && string(b[:len(form)]) == form {
			n = len(form)
		}
	}
	return n, wait
}

// RedactText returns text without the secrets.
func RedactText(text string, secrets []string) string {
	r := NewRedactor(NewPatterns(secrets))
	return string(r.Flush(r.Redact(nil, []byte(text))))
}
