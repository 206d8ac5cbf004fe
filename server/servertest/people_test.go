package servertest_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
	"github.com/saas-gestor/gestor/server/servertest"
)

const biasPassword = "a horse that battery likes"

// anybody is a way to a server for who is not signed in.
func anybody(c *servertest.Cluster, s *servertest.Server) *servertest.Client {
	return c.Access(s, servertest.Access{Anonymous: true})
}

// invited invites a developer and returns the secret of the link.
func invited(t *testing.T, c *servertest.Cluster, by *servertest.Server, email string) string {
	t.Helper()
	res, err := c.Client(by).Invitations().CreateInvitation(t.Context(), &gestorv1.CreateInvitationRequest{Email: email, Role: gestorv1.Role_ROLE_DEVELOPER})
	if err != nil {
		t.Fatalf("invite: %v", err)
	}
	_, secret, ok := strings.Cut(res.GetLink().GetLink(), "/invite#")
	if !ok {
		t.Fatalf("no link: %v", res)
	}
	return secret
}

func signIn(t *testing.T, c *servertest.Cluster, s *servertest.Server, email, password string) (string, error) {
	t.Helper()
	res, err := anybody(c, s).Sessions().CreateSession(t.Context(), &gestorv1.CreateSessionRequest{Email: email, Password: password})
	return res.GetToken(), err
}

func TestPeople_AreInvitedAtOneServerComeInAtAnotherAndAreOutEverywhereAtOnce(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	one, two, three := c.Servers[0], c.Servers[1], c.Servers[2]
	secret := invited(t, c, one, "bia@example.com")
	if _, err := anybody(c, two).Invitations().AcceptInvitation(t.Context(), &gestorv1.AcceptInvitationRequest{Secret: secret, Password: biasPassword}); err != nil {
		t.Fatalf("accept at another server: %v", err)
	}
	token, err := signIn(t, c, three, "Bia@Example.com", biasPassword)
	if err != nil {
		t.Fatalf("sign in: %v", err)
	}
	seen := &rpc.Revision{}
	bia := func(s *servertest.Server) error {
		_, err := c.Access(s, servertest.Access{Token: token, Seen: seen}).Account().GetAccount(t.Context(), &gestorv1.GetAccountRequest{})
		return err
	}
	for _, s := range c.Servers {
		if err := bia(s); err != nil {
			t.Fatalf("at %s: %v", s.Name, err)
		}
	}
	blocked := gestorv1.UserStatus_USER_STATUS_BLOCKED
	if _, err := c.Client(two).Users().UpdateUser(t.Context(), &gestorv1.UpdateUserRequest{User: "bia@example.com", Status: &blocked}); err != nil {
		t.Fatalf("block: %v", err)
	}
	for _, s := range c.Servers {
		if err := bia(s); fault.KindOf(err) != fault.KindUnauthenticated {
			t.Errorf("who is blocked is in at %s: %v", s.Name, err)
		}
	}
	if _, err := signIn(t, c, one, "bia@example.com", biasPassword); fault.KindOf(err) != fault.KindDenied {
		t.Errorf("who is blocked signs in: %v", err)
	}
	for _, s := range c.Servers {
		if where := holds(t, s.Dir, secret, biasPassword); where != "" {
			t.Errorf("%s holds a secret in clear", where)
		}
	}
}

func TestInvitation_IsUsedOnceWhereverItIsShown(t *testing.T) {
	c := servertest.NewCluster(t, 3)
	secret := invited(t, c, c.Servers[0], "bia@example.com")
	var all sync.WaitGroup
	got := make([]error, len(c.Servers))
	for i, s := range c.Servers {
		all.Go(func() {
			_, got[i] = anybody(c, s).Invitations().AcceptInvitation(t.Context(), &gestorv1.AcceptInvitationRequest{Secret: secret, Password: biasPassword})
		})
	}
	all.Wait()
	in := 0
	for _, err := range got {
		if err == nil {
			in++
		} else if fault.KindOf(err) != fault.KindUnauthenticated {
			t.Errorf("got %v", err)
		}
	}
	if in != 1 {
		t.Errorf("%d of three got in", in)
	}
}

// holds names a file under dir that holds one of the texts.
func holds(t *testing.T, dir string, texts ...string) string {
	t.Helper()
	found := ""
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if os.IsNotExist(err) { // of a log that was rotated meanwhile
			return nil
		}
		for _, text := range texts {
			if strings.Contains(string(raw), text) {
				found = path
			}
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return found
}
