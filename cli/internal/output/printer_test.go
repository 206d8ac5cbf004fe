package output_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func newPrinter() (*output.Printer, *bytes.Buffer) {
	out := &bytes.Buffer{}
	now := time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)
	return &output.Printer{Out: out, Err: out, Now: func() time.Time { return now }}, out
}

func TestLinef_CleansEveryArgumentButStyledText(t *testing.T) {
	p, out := newPrinter()
	p.Linef("%s %v %s", "a\x1b[2J", errors.New("b\x1b]0;t\x07"), output.Styled("\x1b[1mc"))
	if got, want := out.String(), "a b \x1b[1mc\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTable_AlignsColumnsByWhatIsSeen(t *testing.T) {
	p, out := newPrinter()
	p.Colours = true
	table := output.NewTable("A", "B")
	table.Row(p.Paint(output.Red, "ação"), "x")
	table.Row("longer one", "y")
	p.Table(table, "")
	want := "\x1b[2mA           B\x1b[0m\n\x1b[31mação\x1b[0m        x\nlonger one  y\n"
	if out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
}

func TestEvent_IsOneStableLine(t *testing.T) {
	for range 20 { // protojson varies its output between builds and runs
		p, out := newPrinter()
		if err := p.Event(&gestorv1.TailTaskLogResponse{Lines: []*gestorv1.LogLine{{Seq: 1, Text: "x"}}}); err != nil {
			t.Fatal(err)
		}
		want := `{"lines":[{"seq":"1","stream":"LOG_STREAM_UNSPECIFIED","phase":"","text":"x"}]}` + "\n"
		if got := out.String(); got != want {
			t.Fatalf("got %q", got)
		}
	}
}

func TestAgo_NamesTheLargestUnit(t *testing.T) {
	p, _ := newPrinter()
	for want, d := range map[string]time.Duration{
		"now": 200 * time.Millisecond, "5s ago": 5 * time.Second, "3m ago": 3*time.Minute + 59*time.Second,
		"47h ago": 47 * time.Hour, "3d ago": 80 * time.Hour, "in 10m": -10 * time.Minute,
	} {
		if got := p.Ago(timestamppb.New(p.Now().Add(-d))); got != want {
			t.Errorf("%s ago: got %q, want %q", d, got, want)
		}
	}
}

func TestBytes_UsesBinaryUnits(t *testing.T) {
	for n, want := range map[uint64]string{0: "", 512: "512 B", 1536: "1.5 KiB", 4 << 30: "4 GiB"} {
		if got := output.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
