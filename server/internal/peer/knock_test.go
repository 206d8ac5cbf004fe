package peer_test

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/cluster"
)

func TestRefuses_TellsAServerWhetherItIsTakenIn(t *testing.T) {
	i := newInstallation(t, "clu_1")
	a, b, gone := i.open(t, "srv_a"), i.open(t, "srv_b"), i.open(t, "srv_c")
	i.bind(a, b)
	serve(t, b)
	if refused, err := a.Refuses(t.Context(), "srv_b"); refused || err != nil {
		t.Errorf("a member: %v, %v", refused, err)
	}
	alone := []cluster.Member{{ID: "srv_b", Address: b.Address(), Voter: true}}
	b.Bind(func() []cluster.Member { return alone }, func() string { return "" })
	if refused, err := a.Refuses(t.Context(), "srv_b"); !refused || err != nil {
		t.Errorf("one that was removed: %v, %v", refused, err)
	}
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	if refused, err := a.Refuses(t.Context(), "srv_c"); refused || err == nil {
		t.Errorf("a server that is gone: %v, %v", refused, err)
	}
	if _, err := a.Refuses(t.Context(), "srv_z"); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestRefuses_DoesNotBelieveAnAlertOfSomebodyInBetween(t *testing.T) {
	i := newInstallation(t, "clu_1")
	a := i.open(t, "srv_a")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := context.AfterFunc(t.Context(), func() { _ = l.Close() })
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1<<14))
		_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, 42}) // a fatal alert, "bad certificate", in clear
		_, _ = conn.Read(make([]byte, 1))                // until the other side hangs up
	}()
	a.Bind(func() []cluster.Member {
		return []cluster.Member{{ID: "srv_b", Address: l.Addr().String(), Voter: true}}
	}, func() string { return "" })
	if refused, err := a.Refuses(t.Context(), "srv_b"); refused || err == nil {
		t.Errorf("got %v, %v", refused, err)
	}
	_ = l.Close()
	<-done
}
