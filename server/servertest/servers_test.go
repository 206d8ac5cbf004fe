package servertest_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

func servers(t *testing.T, c *servertest.Cluster, of *servertest.Server) *gestorv1.ListServersResponse {
	t.Helper()
	res, err := c.Client(of).Servers().ListServers(t.Context(), &gestorv1.ListServersRequest{})
	if err != nil {
		t.Fatalf("list servers: %v", err)
	}
	return res
}

func TestServers_AreListedComparedAndSavedFromEachOfThree(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	for _, s := range c.Servers {
		res := servers(t, c, s)
		if len(res.GetServers()) != 3 || res.GetTolerates() != 1 || res.GetNotice() != "" {
			t.Errorf("%s says %v", s.Name, res)
		}
		for _, one := range res.GetServers() {
			if !one.GetReachable() || one.GetRole() != gestorv1.ServerRole_SERVER_ROLE_VOTER || one.GetDiskFreeBytes() == 0 {
				t.Errorf("%s says %v", s.Name, one)
			}
		}
		check, err := c.Client(s).Servers().CheckServers(t.Context(), &gestorv1.CheckServersRequest{})
		if err != nil || !check.GetEqual() || len(check.GetServers()) != 3 {
			t.Errorf("%s compares: %v, %v", s.Name, check, err)
		}
		stream, err := c.Client(s).Servers().Backup(t.Context(), &gestorv1.BackupRequest{})
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for stream.Receive() {
			size += len(stream.Msg().GetData())
		}
		if err := errors.Join(stream.Err(), stream.Close()); err != nil || size == 0 {
			t.Errorf("a backup of %d bytes from %s: %v", size, s.Name, err)
		}
	}
}

func TestServers_GiveLeadershipToWhomIsNamedAndLeaveWhenToldTo(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	for _, s := range c.Servers {
		res, err := c.Client(c.Servers[0]).Servers().TransferLeader(t.Context(), &gestorv1.TransferLeaderRequest{Server: s.Name})
		if err != nil || res.GetLeader() != s.Name {
			t.Fatalf("to %s: %v, %v", s.Name, res, err)
		}
		t.Logf("nobody led for %s", res.GetTook().AsDuration())
	}
	leader := c.Servers[2]
	req := &gestorv1.RemoveServerRequest{Server: leader.Name, RequestId: "remove"}
	for range 2 {
		if _, err := c.Client(c.Servers[0]).Servers().RemoveServer(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	res := servers(t, c, c.Servers[1])
	if len(res.GetServers()) != 2 || !strings.Contains(res.GetNotice(), "two servers vote") {
		t.Errorf("got %v", res)
	}
	_, err := c.Client(c.Servers[0]).Servers().RemoveServer(t.Context(), &gestorv1.RemoveServerRequest{Server: "ctl9"})
	if !errors.Is(err, fault.KindNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestServers_OneThatWasAwayHearsALeaderThatJoinedMeanwhile(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	away := c.Follower()
	c.Stop(away)
	newest := c.Add()
	c.Add() // the fourth votes together with the fifth
	c.WaitVoters(5)
	c.TransferTo(newest)
	c.Start(away) // it has never heard of who leads now
	c.Check()
	if lead := c.WaitLeader(); lead != newest {
		t.Fatalf("%s leads, so that nothing was tried", lead.Name)
	}
}

func TestServers_ADeadOneIsReplaced(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	dead := c.Servers[2]
	c.Kill(dead)
	before := servers(t, c, c.Servers[0])
	if before.GetTolerates() != 0 || !strings.Contains(before.GetServers()[2].GetNotice(), "--replace "+dead.Name) {
		t.Errorf("got %v", before)
	}
	c.Replace(dead)
	end := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		now := servers(t, c, c.Servers[0])
		if now.GetTolerates() == 1 && len(now.GetServers()) == 3 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is not replaced: %v", now)
		}
		<-tick.C
	}
}
