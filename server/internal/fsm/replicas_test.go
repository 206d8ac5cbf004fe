package fsm

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/saas-gestor/gestor/server/internal/command"
)

// script is a log of random commands, some of which come more than once, in entries of several.
type script struct {
	commands [][]command.Command // by entry
	entries  []Entry
}

func anyScript(t *testing.T, r *rapid.T, first uint64) script {
	t.Helper()
	result := builtResult(t)
	var s script
	var known []command.Command
	at := start
	for i := range rapid.IntRange(1, 60).Draw(r, "entries") {
		var entry []command.Command
		for range rapid.IntRange(1, 4).Draw(r, "commands") {
			at = later(r, at)
			c := command.Command{At: at, Actor: anyActor(r), Op: anyOp(r, result)}
			c.Actor.Action = "test"
			switch {
			case len(known) > 0 && rapid.IntRange(0, 4).Draw(r, "again") == 0:
				old := rapid.SampledFrom(known).Draw(r, "command")
				c.RequestID, c.Op, c.Actor = old.RequestID, old.Op, old.Actor
			case rapid.IntRange(0, 9).Draw(r, "anonymous") > 0:
				c.RequestID = fmt.Sprint("r", len(known))
				known = append(known, c)
			}
			entry = append(entry, c)
		}
		s.commands = append(s.commands, entry)
		s.entries = append(s.entries, Entry{Index: first + uint64(i), Data: entryOf(t, entry...)})
	}
	return s
}

// replica is a state machine somewhere on its way through a script.
type replica struct {
	*world
	next    int
	results map[int][]Result // by entry; those it did not jump over with a snapshot
}

// take applies the next n entries together.
func (p *replica) take(s script, n int) {
	n = min(n, len(s.entries)-p.next)
	for i, results := range p.fsm.Apply(s.entries[p.next : p.next+n]) {
		p.results[p.next+i] = results
	}
	p.next += n
}

// install puts the state of another replica in place of its own, as a leader does to one that is far behind.
func (p *replica) install(t *testing.T, from *replica) {
	t.Helper()
	copyState(t, from.world, p.world)
	p.next = from.next
}

func TestReplicas_AgreeHoweverTheLogIsCutAndSnapshotsAreInstalled(t *testing.T) {
	fewer(t, "25")
	rapid.Check(t, func(r *rapid.T) {
		var replicas []*replica
		for range 3 {
			replicas = append(replicas, &replica{world: newWorld(t), results: map[int][]Result{}})
		}
		defer func() {
			for _, p := range replicas {
				_ = p.store.Close()
			}
		}()
		s := anyScript(t, r, replicas[0].index+1)
		for slices.ContainsFunc(replicas, func(p *replica) bool { return p.next < len(s.entries) }) {
			p := rapid.SampledFrom(replicas).Draw(r, "replica")
			if from := rapid.SampledFrom(replicas).Draw(r, "from"); from.next >= p.next && rapid.IntRange(0, 7).Draw(r, "install") == 0 {
				p.install(t, from)
				continue
			}
			p.take(s, rapid.IntRange(1, 16).Draw(r, "batch"))
		}
		for _, p := range replicas[1:] {
			if p.hash() != replicas[0].hash() {
				r.Fatal("the same log gave different states")
			}
			sameResults(r, replicas[0], p)
		}
		repeatsAreAnsweredAlike(r, s, replicas)
	})
}

func sameResults(r *rapid.T, a, b *replica) {
	for i, results := range a.results {
		if other, ok := b.results[i]; ok && fmt.Sprint(results) != fmt.Sprint(other) {
			r.Fatalf("entry %d: %v and %v", i, results, other)
		}
	}
}

// repeatsAreAnsweredAlike checks that a request which came again got what it got the first time, unless the memory of it was
// pruned in between.
func repeatsAreAnsweredAlike(r *rapid.T, s script, replicas []*replica) {
	first := map[string]string{}
	for i, entry := range s.commands {
		for j, c := range entry {
			if _, ok := c.Op.(command.Prune); ok {
				clear(first)
			}
			got, ok := resultAt(replicas, i, j)
			if !ok || c.RequestID == "" {
				continue
			}
			if before, again := first[c.RequestID]; again && before != got {
				r.Fatalf("request %s was answered %s, then %s", c.RequestID, before, got)
			}
			first[c.RequestID] = got
		}
	}
}

func resultAt(replicas []*replica, entry, position int) (string, bool) {
	for _, p := range replicas {
		if results, ok := p.results[entry]; ok {
			return fmt.Sprint(results[position]), true
		}
	}
	return "", false
}
