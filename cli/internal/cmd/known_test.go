package cmd

import (
	"testing"

	"github.com/saas-gestor/gestor/cli/internal/client"
)

func TestHear_LearnsServersThatCameAndWentAndNothingElse(t *testing.T) {
	known := []client.Server{{Address: "gestor.example:443"}, {Name: "ctl1", Address: "192.0.2.1:8443"}, {Name: "ctl2", Address: "192.0.2.2:8443"}}
	for _, c := range []struct {
		header string
		want   int
	}{
		{"ctl1=192.0.2.1:8443, ctl2=192.0.2.2:8443", 0}, // the address a person gave is another way to one of them
		{"ctl1=192.0.2.1:8443, ctl2=192.0.2.2:8443, ctl3=192.0.2.3:8443", 3},
		{"ctl1=192.0.2.1:8443", 1},
		{"", 0},
		{"nonsense, ctl9=http://192.0.2.9, =, ctl8=user@192.0.2.8:8443/x", 0},
	} {
		r := &run{}
		r.known.Servers = known
		if r.hear(c.header); len(r.told) != c.want {
			t.Errorf("%q: learnt %v, want %d", c.header, r.told, c.want)
		}
	}
}
