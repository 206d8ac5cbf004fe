package nodes

import (
	"strings"
	"testing"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestTail_HoldsAtMostAMebibyteForAViewerThatDoesNotRead(t *testing.T) {
	tl := &tail{lines: make(chan []*gestorv1.LogLine, tailBuffer)}
	for range 100 {
		var lines []*gestorv1.LogLine
		for range 20 {
			lines = append(lines, &gestorv1.LogLine{Text: strings.Repeat("x", 100<<10)})
		}
		tl.offer(lines)
	}
	held, kept := 0, 0
	for len(tl.lines) > 0 {
		for _, line := range <-tl.lines {
			held, kept = held+len(line.GetText()), kept+1
		}
	}
	if held == 0 || held > 1<<20 || kept+tl.skipped != 2000 {
		t.Fatalf("%d bytes in %d lines are held, %d were skipped", held, kept, tl.skipped)
	}
	tl.offer([]*gestorv1.LogLine{{Text: "next"}})
	if got := <-tl.lines; len(got) != 2 || !strings.Contains(got[0].GetText(), "lines were skipped") || got[1].GetText() != "next" {
		t.Fatalf("got %v", got)
	}
}

func TestChunks_KeepsAllLinesInOrder(t *testing.T) {
	var lines []*gestorv1.LogLine
	for seq := range uint64(1000) {
		lines = append(lines, &gestorv1.LogLine{Seq: seq, Text: strings.Repeat("x", 50)})
	}
	next, n := uint64(0), 0
	for chunk := range chunks(lines) {
		n++
		for _, line := range chunk {
			if line.GetSeq() != next {
				t.Fatalf("line %d comes where %d should", line.GetSeq(), next)
			}
			next++
		}
	}
	if next != 1000 || n < 2 {
		t.Fatalf("%d lines in %d chunks", next, n)
	}
}
