package config

import (
	"fmt"
	"net/netip"
)

// Outgoing says what people of tenants may have the servers connect to, as by webhooks. The internet is open to them, the
// networks behind the servers are not.
type Outgoing struct {
	Allow []string `toml:"allow"` // networks that may be reached besides, and without TLS: ["10.20.0.0/16"]
}

// Networks are what is allowed.
func (o Outgoing) Networks() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, raw := range o.Allow {
		p, err := netip.ParsePrefix(raw)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("outgoing.allow: %q is no network: write 10.20.0.0/16, or 10.20.0.7/32 for one address", raw)
		}
		out = append(out, p)
	}
	return out, nil
}

func (o Outgoing) check() error {
	_, err := o.Networks()
	return err
}
