package output

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the margin that readers need around a QR code, in modules.
const quiet = 2

// QR draws text as a QR code, two modules to a character. Its colours are set where Out takes some, so that it is dark on
// light whatever the terminal is; otherwise it is drawn for a dark one. Nothing in JSON mode.
func (p *Printer) QR(text string) error {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return fmt.Errorf("draw a QR code: %w", err)
	}
	for y := -quiet; y < code.Size+quiet; y += 2 {
		var b strings.Builder
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteRune(half(!code.Black(x, y), !code.Black(x, y+1)))
		}
		line := Styled(b.String())
		if p.Colours {
			line = "\x1b[97;40m" + line + reset
		}
		p.Linef("%s", line)
	}
	return nil
}

// half is a character with its upper and lower half light or not.
func half(upper, lower bool) rune {
	switch {
	case upper && lower:
		return '█'
	case upper:
		return '▀'
	case lower:
		return '▄'
	}
	return ' '
}
