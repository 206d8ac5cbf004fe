package cmd

import (
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// output of an app has no numbers that last: a node reads it from a file, again after each break. What follows is how a
// reader finds its place in it: it asks for as many of the last lines as it has shown, and what it gets then begins
// somewhere in what it has.

// keepLines is how many lines of each node are kept to find the place.
const keepLines = 1000

// shown is what was shown of a node's output.
type shown struct {
	lines  []string
	replay *replay // while the place is being found
}

// again tells that the output begins anew with lines that may have been shown.
func (s *shown) again() {
	if len(s.lines) > 0 {
		s.replay = &replay{}
	}
}

// fresh leaves out what was shown. lost tells that the place was not found, so that lines may be missing in between.
func (s *shown) fresh(lines []*gestorv1.LogLine) (fresh []*gestorv1.LogLine, lost bool) {
	for _, l := range lines {
		switch {
		case l.GetStream() == gestorv1.LogStream_LOG_STREAM_GESTOR: // not of the app, and not repeated
			fresh = append(fresh, l)
		case s.replay == nil:
			s.keep(l)
			fresh = append(fresh, l)
		default:
			if !s.replay.step(l, s.lines) {
				continue
			}
			lost = lost || !s.replay.found
			for _, held := range s.replay.held {
				s.keep(held)
			}
			fresh = append(fresh, s.replay.held...)
			s.replay = nil
		}
	}
	return fresh, lost
}

func (s *shown) keep(l *gestorv1.LogLine) {
	s.lines = append(s.lines, l.GetText())
	if len(s.lines) >= 2*keepLines { // cut rarely: cutting copies
		s.lines = append([]string(nil), s.lines[len(s.lines)-keepLines:]...)
	}
}

// last is how many lines to ask for.
func (s *shown) last() int32 { return int32(min(len(s.lines), keepLines)) }

// replay compares what comes with what was shown. It follows every place that fits so far, and believes the one that
// fits longest.
type replay struct {
	begun  bool
	places []int               // the next line of what was shown, for each place that fits
	held   []*gestorv1.LogLine // what may be new
	found  bool                // a place fitted to the end of what was shown
}

// step takes a line and reports whether the place is known, or that there is none: held is new then.
func (r *replay) step(l *gestorv1.LogLine, before []string) bool {
	if !r.begun {
		r.begun = true
		for i := max(0, len(before)-keepLines); i < len(before); i++ {
			r.places = append(r.places, i)
		}
	}
	r.held = append(r.held, l)
	fits := r.places[:0]
	for _, next := range r.places {
		switch {
		case before[next] != l.GetText():
		case next+1 == len(before):
			r.found, r.held = true, nil
		default:
			fits = append(fits, next+1)
		}
	}
	r.places = fits
	return len(fits) == 0
}
