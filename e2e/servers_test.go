package e2e_test

import (
	"testing"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
)

func TestServers_OneRunsOnADiskOfTheLab(t *testing.T) {
	w := startWith(t, stack.Options{Network: true, Disks: true})
	r := w.repo("site", map[string]string{"index.html": "one"})
	url := w.create("site", r, 1)
	w.cli("deploy", "site")
	w.serves(url, "one")
	w.Servers[0].Disk.Slow(20 * time.Millisecond)
	w.commit(r, "index.html", "two")
	w.cli("deploy", "site")
	w.serves(url, "two")
	w.Servers[0].Kill()
	must(t, w.Servers[0].Disk.Repair())
	must(t, w.Servers[0].Start())
	must(t, w.WaitConnected(t.Context()))
	w.cli("rollback", "site")
	w.serves(url, "one")
}
