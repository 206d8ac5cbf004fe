package cmd

import (
	"context"

	"github.com/spf13/pflag"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
)

// trust is how a server met for the first time is recognised.
type trust struct {
	pin      string
	firstUse bool
}

func (t *trust) flags(fs *pflag.FlagSet) {
	fs.StringVar(&t.pin, "pin", "", "SHA-256 of the server root's public key, hex, as the server printed it")
	fs.BoolVar(&t.firstUse, "insecure-trust-on-first-use", false, "believe whatever root the server shows; only on a network you own")
}

// roots returns the PEM roots to believe for the server at base, "" for the system's. Nothing secret has been sent when it
// returns, and nothing will be if it fails.
func (r *run) roots(ctx context.Context, base string, t trust) (string, error) {
	if t.pin == "" {
		public, err := client.PubliclyTrusted(ctx, base)
		if err != nil || public {
			return "", err
		}
	}
	found, err := client.FetchRoots(ctx, base)
	if err != nil {
		return "", err
	}
	switch {
	case t.pin != "":
		return client.Pinned(found, t.pin)
	case t.firstUse:
		r.out.Warnf("trusting %s on first use, root %s", base, found[0].Pin)
		return found[0].PEM, nil
	default:
		return r.confirmRoot(base, found[0])
	}
}

func (r *run) confirmRoot(base string, root client.Root) (string, error) {
	if !r.env.InTerminal || r.out.JSON {
		return "", fault.Denied("%s has a certificate of its own root, which nobody vouches for", base).
			WithFix("add --pin with the pin that the server printed on its first start")
	}
	r.out.Notef("%s has a certificate of its own root:", base)
	r.out.Notef("  subject  %s", root.Subject)
	r.out.Notef("  expires  %s", root.Expires.Format("2006-01-02"))
	r.out.Notef("  pin      %s", r.out.Paint(output.Bold, root.Pin))
	answer, err := r.ask("Is this the pin that the server printed on its first start? [y/N]")
	if err != nil {
		return "", err
	}
	if answer != "y" && answer != "yes" {
		return "", fault.Denied("the server's root was not confirmed; nothing was sent")
	}
	return root.PEM, nil
}
