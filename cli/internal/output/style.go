package output

import "fmt"

const reset = "\x1b[0m"

// Style is an SGR code.
type Style string

// The styles in use. Colour only ever repeats what the words say.
const (
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Cyan   Style = "36"
)

// Paint cleans text and gives it a style, if Out takes colours.
func (p *Printer) Paint(s Style, text string) Styled {
	text = Clean(text)
	if !p.Colours || text == "" {
		return Styled(text)
	}
	return Styled(fmt.Sprintf("\x1b[%sm%s%s", s, text, reset))
}

// State paints the word for a state by what it means for the reader.
func (p *Printer) State(word string) Styled {
	switch word {
	case "succeeded", "success", "active", "connected", "good", "current", "live":
		return p.Paint(Green, word)
	case "failed", "error", "lost", "bad":
		return p.Paint(Red, word)
	case "suspect", "draining", "reverting", "cancelled", "deleting":
		return p.Paint(Yellow, word)
	case "running", "building", "preparing", "switching", "watching", "deploying", "leased":
		return p.Paint(Cyan, word)
	default:
		return Styled(Clean(word))
	}
}
