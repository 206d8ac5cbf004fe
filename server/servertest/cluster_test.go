package servertest_test

import (
	"testing"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/servertest"
)

func TestCluster_OfOneIsClaimedAndAnswersAfterAKill(t *testing.T) {
	c := servertest.NewCluster(t, 1)
	s := c.Servers[0]
	c.Kill(s)
	c.Start(s)
	who, err := c.Client(s).Sessions().GetSession(t.Context(), &gestorv1.GetSessionRequest{})
	if err != nil || who.GetSession().GetEmail() != servertest.Email {
		t.Fatalf("got %v, %v", who, err)
	}
}
