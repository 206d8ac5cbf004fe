package output

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Table collects rows and writes them with aligned columns. A cell is a string, which is cleaned, or Styled.
type Table struct {
	header []string
	rows   [][]string
}

// NewTable begins a table with its column titles.
func NewTable(header ...string) *Table { return &Table{header: header} }

// Row adds a row.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(cleanArg(c))
	}
	t.rows = append(t.rows, row)
}

// Table writes t, or empty, a sentence that says what to do, when it has no rows.
func (p *Printer) Table(t *Table, empty string) {
	if p.JSON {
		return
	}
	if len(t.rows) == 0 {
		p.Notef("%s", empty)
		return
	}
	widths := t.widths()
	p.Linef("%s", p.Paint(Dim, line(t.header, widths)))
	for _, row := range t.rows {
		p.Linef("%s", Styled(line(row, widths)))
	}
}

func (t *Table) widths() []int {
	widths := make([]int, len(t.header))
	for _, row := range append([][]string{t.header}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], Width(cell))
		}
	}
	return widths
}

func line(cells []string, widths []int) string {
	var b strings.Builder
	for i, cell := range cells {
		b.WriteString(cell)
		if i < len(cells)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-Width(cell)+2))
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Fields writes name and value pairs, one a line, values aligned; pairs with an empty value are left out.
func (p *Printer) Fields(pairs ...[2]any) {
	width := 0
	for _, f := range pairs {
		width = max(width, Width(fmt.Sprint(f[0])))
	}
	for _, f := range pairs {
		if value := fmt.Sprint(cleanArg(f[1])); value != "" {
			name := fmt.Sprintf("%-*s", width+2, fmt.Sprint(f[0]))
			p.Linef("%s%s", p.Paint(Dim, name), Styled(value))
		}
	}
}

// Width is the number of characters s takes, escape sequences left out.
func Width(s string) int {
	if isPlain(s) {
		return len(s)
	}
	return utf8.RuneCountInString(strip(s, false))
}

// Cut shortens s, which must be clean, to width characters.
func Cut(s string, width int) string {
	if width <= 0 {
		return ""
	}
	if Width(s) <= width {
		return s
	}
	runes := []rune(strip(s, false))
	return string(runes[:width-1]) + "…"
}
