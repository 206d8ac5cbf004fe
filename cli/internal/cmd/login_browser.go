package cmd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"time"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// sessionSecret makes the secret of a session, in the form the servers know.
func sessionSecret() (secret string, hash []byte) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: see crypto/rand
	secret = "gss_" + base64.RawURLEncoding.EncodeToString(raw)
	sum := sha256.Sum256([]byte(secret))
	return secret, sum[:]
}

// loginByBrowser signs in with a secret of this computer's making, which somebody approves in a browser. Only its hash
// leaves this computer before that.
func (r *run) loginByBrowser(ctx context.Context, all *client.Contexts, name string, target client.Context) error {
	secret, hash := sessionSecret()
	computer, err := os.Hostname()
	if err != nil || computer == "" {
		computer = "a terminal"
	}
	asked, err := r.conn.Logins().BeginLogin(ctx, &gestorv1.BeginLoginRequest{SecretHash: hash, Computer: computer})
	if err != nil {
		return cause(ctx, err)
	}
	r.out.Notef("open this page, where you are signed in or can sign in:")
	r.out.Notef("  %s", output.Clean(asked.GetUrl()))
	r.out.Notef("and approve only if it shows the code %s", r.out.Paint(output.Bold, output.Clean(asked.GetCode())))
	target.Token = secret
	approved, err := r.dial(target)
	if err != nil {
		return err
	}
	r.conn.Close()
	r.conn = approved
	session, err := r.awaitApproval(ctx, asked.GetExpiresAt().AsTime().Sub(r.env.Now()))
	if err != nil {
		return cause(ctx, err)
	}
	return r.signedIn(ctx, all, name, target, secret, session)
}

// approvalPoll is how often a terminal looks whether it was approved.
const approvalPoll = 2 * time.Second

// awaitApproval waits until the connection's secret is a session.
func (r *run) awaitApproval(ctx context.Context, most time.Duration) (*gestorv1.Session, error) {
	late, tick := time.NewTimer(most), time.NewTicker(approvalPoll)
	defer late.Stop()
	defer tick.Stop()
	for {
		res, err := r.conn.Sessions().GetSession(ctx, &gestorv1.GetSessionRequest{})
		if err == nil {
			return res.GetSession(), nil
		}
		switch fault.KindOf(err) {
		case fault.KindUnauthenticated, fault.KindUnavailable, fault.KindExhausted:
		default:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-late.C:
			return nil, fault.Timeout("nobody approved it in time").WithFix("run gestor login --browser again")
		case <-tick.C:
		}
	}
}

// loginByToken signs in with a token that somebody made before.
func (r *run) loginByToken(ctx context.Context, all *client.Contexts, name string, target client.Context) error {
	token, err := r.secret("Token", "--token-stdin", !r.env.InTerminal)
	if err != nil {
		return err
	}
	target.Token = token
	conn, err := r.dial(target)
	if err != nil {
		return err
	}
	r.conn.Close()
	r.conn = conn
	res, err := conn.Sessions().GetSession(ctx, &gestorv1.GetSessionRequest{})
	if err != nil {
		return cause(ctx, err)
	}
	return r.signedIn(ctx, all, name, target, token, res.GetSession())
}
