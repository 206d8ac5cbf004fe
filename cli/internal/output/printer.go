package output

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// Printer writes results to Out and notices to Err. It is not safe for concurrent use.
type Printer struct {
	Out     io.Writer
	Err     io.Writer
	JSON    bool // programs read it: results are JSON, notices for people are left out
	Colours bool // Out takes SGR colours
	Now     func() time.Time
}

// Styled is text of our own that needs no cleaning.
type Styled string

// Linef writes one line of a result for people; nothing in JSON mode.
func (p *Printer) Linef(format string, args ...any) {
	if !p.JSON {
		_, _ = fmt.Fprintf(p.Out, format+"\n", cleaned(args)...)
	}
}

// Notef writes a notice to Err: progress, hints, questions. Nothing in JSON mode.
func (p *Printer) Notef(format string, args ...any) {
	if !p.JSON {
		_, _ = fmt.Fprintf(p.Err, format+"\n", cleaned(args)...)
	}
}

// Warnf is Notef for what somebody must know even when a program reads the result.
func (p *Printer) Warnf(format string, args ...any) {
	_, _ = fmt.Fprintf(p.Err, "warning: "+format+"\n", cleaned(args)...)
}

// Object writes m as one indented JSON object.
func (p *Printer) Object(m proto.Message) error {
	raw, err := marshal(m)
	if err != nil {
		return err
	}
	return p.Value(json.RawMessage(raw))
}

// Event writes m as one line of JSON, for streams.
func (p *Printer) Event(m proto.Message) error {
	raw, err := marshal(m)
	if err != nil {
		return err
	}
	line, err := json.Marshal(json.RawMessage(raw)) // protojson varies its spaces on purpose; this takes them out
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s\n", line)
	return err
}

// Value writes any value as one indented JSON object.
func (p *Printer) Value(v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s\n", text)
	return err
}

func marshal(m proto.Message) ([]byte, error) {
	return protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
}

func cleaned(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		out[i] = cleanArg(a)
	}
	return out
}

func cleanArg(a any) any {
	switch v := a.(type) {
	case Styled:
		return string(v)
	case string:
		return Clean(v)
	case error:
		return Clean(v.Error())
	case fmt.Stringer:
		return Clean(v.String())
	default:
		return a
	}
}
