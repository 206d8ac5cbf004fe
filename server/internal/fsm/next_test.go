//go:build gestor_next

package fsm

import (
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestNext_NeedsTheLevelAndKeepsItAcrossASnapshot(t *testing.T) {
	w, copied := newWorld(t), emptyWorld(t)
	w.actor = system
	note := command.PutNote{ID: "n", Text: "hello"}
	w.refuses(fault.KindConflict, note)
	w.must(command.PutServer{Server: gestor.Server{ID: "srv_1", Name: "ctl1", Version: "1.0", Level: 1}})
	if err := w.refusal(fault.KindConflict, command.RaiseLevel{Level: 3}); !strings.Contains(err.Error(), "ctl1") {
		t.Errorf("the refusal does not name the server: %v", err)
	}
	w.must(command.PutServer{Server: gestor.Server{ID: "srv_1", Name: "ctl1", Version: "2.0", Level: 3}})
	before := w.hash()
	w.must(command.RaiseLevel{Level: 3})
	w.must(note)
	if w.hash() == before {
		t.Error("a note is not part of the state")
	}
	copyState(t, w, copied)
	if copied.hash() != w.hash() {
		t.Error("a restored state of level 3 is another")
	}
	if n, err := copied.store.Notes(t.Context()); err != nil || n != 1 {
		t.Errorf("got %d notes, %v", n, err)
	}
	c := &change{Txn: begin(t, w), ctx: t.Context()}
	if err := c.checkNewcomer(gestor.Server{Name: "ctl2", Level: 1}); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("a server of level 1 may join a state of level 3: %v", err)
	}
}
