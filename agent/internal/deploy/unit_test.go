package deploy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/saas-gestor/gestor/agent/internal/process"
)

func TestUnit_SeesAnInterpreterAmongTheAgentsHiddenFiles(t *testing.T) {
	h := newHost(t)
	data := filepath.Join(h.o.Root, "data") // the deploy root is hidden from every app
	bin := filepath.Join(data, "node/22.0.0/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "hello"), []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.deploy(h.static("r1", "one"))
	dir, err := h.d.open(h.app)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	p := &program{d: h.d, dir: dir, app: h.app, name: "r1", spec: savedSpec{BinDir: bin}}
	u := p.unit()
	exit, err := h.o.Sandbox.Run(t.Context(), process.Step{
		Name: "see", Argv: []string{"hello"}, Dir: u.Dir, Env: []string{"PATH=" + u.Env["PATH"]}, UID: u.UID, GID: u.GID,
		Writable: u.Writable, ReadOnly: u.ReadOnly, Hidden: u.Hidden,
	})
	if err != nil || !exit.OK() {
		t.Errorf("exit is %+v, %v", exit, err)
	}
}
