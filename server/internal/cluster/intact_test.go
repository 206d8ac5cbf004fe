package cluster

import (
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestOpen_GoesOnAfterAnEndBetweenASnapshotFromTheLeaderAndItsLog(t *testing.T) {
	dir := t.TempDir()
	c := open(t, dir, &list{})
	if _, err := c.Propose(t.Context(), []byte("old")); err != nil {
		t.Fatal(err)
	}
	only, term := c.raft.GetConfiguration().Configuration(), c.raft.CurrentTerm()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	o := Options{Dir: dir}.withDefaults()
	snapshots, err := openSnapshots(o)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := snapshots.Create(raft.SnapshotVersionMax, 100, term, only, 1, o.Transport)
	if err != nil {
		t.Fatal(err)
	}
	if err := (snapshot{&image{[]string{"old", "newer"}}}).Persist(sink); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m := &list{}
		c = open(t, dir, m)
		if _, err := c.Propose(t.Context(), []byte("more")); err != nil {
			t.Fatal(err)
		}
		if got := m.all(); !slices.Equal(got[:3], []string{"old", "newer", "more"}) || m.Applied() <= 100 {
			t.Fatalf("got %v at %d", got, m.Applied())
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOpen_BeginsAgainAfterAFirstStartThatWasCutOff(t *testing.T) {
	o := Options{Dir: t.TempDir(), Machine: &list{}, Heartbeat: 20 * time.Millisecond}.withDefaults()
	st, err := openStore(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.stable.SetUint64(currentTerm, 1); err != nil { // the first thing raft.BootstrapCluster does
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	c := open(t, o.Dir, o.Machine)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
