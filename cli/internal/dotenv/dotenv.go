// Package dotenv reads .env files: names and values, no expansion, no commands. It is strict: what it does not
// understand is an error with its line, never a guess.
package dotenv

import (
	"regexp"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Parse returns the variables of a .env file. A name that comes twice keeps its last value.
func Parse(text string) (map[string]string, error) {
	p := &parser{rest: strings.TrimPrefix(strings.ReplaceAll(text, "\r\n", "\n"), "\ufeff"), line: 1, name: regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)}
	vars := map[string]string{}
	for p.rest != "" {
		if err := p.statement(vars); err != nil {
			return nil, err
		}
	}
	return vars, nil
}

type parser struct {
	rest string
	line int
	name *regexp.Regexp
}

// statement reads one line, or several if a quoted value spans them.
func (p *parser) statement(vars map[string]string) error {
	line, _, _ := strings.Cut(p.rest, "\n")
	trimmed := strings.TrimSpace(line)
	if trimmed == "" || strings.HasPrefix(trimmed, "#") {
		p.skipLine()
		return nil
	}
	left, _, ok := strings.Cut(line, "=")
	name := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(left), "export "))
	if !ok || !p.name.MatchString(name) {
		return p.fail("expected NAME=value")
	}
	p.rest = strings.TrimLeft(p.rest[len(left)+1:], " \t")
	value, err := p.value()
	if err != nil {
		return err
	}
	vars[name] = value
	return nil
}

func (p *parser) value() (string, error) {
	if strings.HasPrefix(p.rest, "'") || strings.HasPrefix(p.rest, `"`) {
		return p.quoted(p.rest[0])
	}
	line, _, _ := strings.Cut(p.rest, "\n")
	if i := strings.Index(line, " #"); i >= 0 {
		line = line[:i]
	}
	if strings.HasPrefix(line, "#") {
		line = ""
	}
	p.skipLine()
	return strings.TrimSpace(line), nil
}

func (p *parser) quoted(quote byte) (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == quote:
			return b.String(), p.end(i + 1)
		case c == '\\' && quote == '"' && i+1 < len(p.rest):
			i++
			b.WriteString(unescape(p.rest[i]))
		default:
			b.WriteByte(c)
		}
	}
	return "", p.fail("the quote is never closed")
}

func unescape(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\\', '$', '`':
		return string(c)
	default:
		return `\` + string(c)
	}
}

// end goes on after a quoted value, which only a comment may follow on its line.
func (p *parser) end(at int) error {
	line, _, _ := strings.Cut(p.rest[at:], "\n")
	if after := strings.TrimSpace(line); after != "" && !strings.HasPrefix(after, "#") {
		return p.fail("something follows the closing quote")
	}
	p.line += strings.Count(p.rest[:at], "\n")
	p.rest = p.rest[at:]
	p.skipLine()
	return nil
}

func (p *parser) skipLine() {
	_, p.rest, _ = strings.Cut(p.rest, "\n")
	p.line++
}

// fail names the line and shows nothing of it, because it may hold a secret.
func (p *parser) fail(what string) error {
	return fault.Invalid("", "line %d: %s", p.line, what)
}
