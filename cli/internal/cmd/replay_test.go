package cmd

import (
	"fmt"
	"strings"
	"testing"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func lines(texts ...string) []*gestorv1.LogLine {
	var all []*gestorv1.LogLine
	for i, text := range texts {
		all = append(all, &gestorv1.LogLine{Seq: uint64(i) + 1, Text: text})
	}
	return all
}

func texts(lines []*gestorv1.LogLine) string {
	var all []string
	for _, l := range lines {
		all = append(all, l.GetText())
	}
	return strings.Join(all, " ")
}

func TestShown_FindsItsPlaceAgain(t *testing.T) {
	for _, c := range []struct {
		name, before, again, want string
		lost                      bool
	}{
		{"nothing new", "a b c", "a b c", "", false},
		{"new lines push old ones out", "a b c", "b c d", "d", false},
		{"all that was shown is pushed out", "a b c", "d e f", "d e f", true},
		{"a line that repeats itself in between", "a tick b tick", "tick b tick c", "c", false},
		{"a beginning that looks like the end", "x a b a b", "x a b a b a b y", "a b y", false},
		{"a shorter place that fits while a longer one does not", "a b a", "a c", "c", false},
		{"a log that began anew", "start a b", "start c", "start c", true},
		{"one line shown", "a", "a", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &shown{}
			s.fresh(lines(strings.Fields(c.before)...))
			if got := s.last(); int(got) != len(strings.Fields(c.before)) {
				t.Errorf("asks for %d lines", got)
			}
			s.again()
			var got []string
			lost := false
			for _, l := range lines(strings.Fields(c.again)...) { // one by one: pieces must not matter
				fresh, missing := s.fresh([]*gestorv1.LogLine{l})
				lost = lost || missing
				if len(fresh) > 0 {
					got = append(got, texts(fresh))
				}
			}
			if strings.Join(got, " ") != c.want || lost != c.lost {
				t.Errorf("got %q, lost %v", got, lost)
			}
		})
	}
}

func TestShown_ShowsALongLogOnceOverManyBreaks(t *testing.T) {
	var file []string
	s := &shown{}
	var got []string
	for i := range 5000 {
		file = append(file, fmt.Sprintf("GET /%d", i%37)) // repeats itself, but not in step with the breaks
		if i%100 == 0 {
			file[i] = fmt.Sprintf("minute %d", i)
		}
		if i%1111 == 1110 || i == 4999 {
			s.again()
			fresh, lost := s.fresh(lines(file[len(file)-min(len(file), int(s.last())):]...))
			if lost {
				t.Fatalf("lost at %d", i)
			}
			got = append(got, texts(fresh))
		} else if i%1111 < 900 { // the rest comes while the connection is away
			fresh, _ := s.fresh(lines(file[i]))
			got = append(got, texts(fresh))
		}
	}
	if strings.Join(got, " ") != strings.Join(file, " ") {
		t.Error("the log was not shown line by line")
	}
	if len(s.lines) >= 2*keepLines {
		t.Errorf("%d lines are kept", len(s.lines))
	}
}

func TestShown_PassesGestorsOwnLines(t *testing.T) {
	s := &shown{}
	s.fresh(lines("a"))
	s.again()
	own := lines("3 lines were skipped")
	own[0].Stream = gestorv1.LogStream_LOG_STREAM_GESTOR
	if fresh, lost := s.fresh(append(own, lines("a", "b")...)); texts(fresh) != "3 lines were skipped b" || lost {
		t.Errorf("got %q, lost %v", texts(fresh), lost)
	}
}
