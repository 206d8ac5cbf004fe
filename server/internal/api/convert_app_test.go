package api

import (
	"slices"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestAddressesOf_PrefersNamesAndBracketsIPv6(t *testing.T) {
	hosts := []string{"10.0.0.1", "fd00::1"}
	for _, c := range []struct {
		settings gestor.AppSettings
		want     []string
	}{
		{gestor.AppSettings{}, []string{"http://10.0.0.1", "http://[fd00::1]"}},
		{gestor.AppSettings{Port: 8080}, []string{"http://10.0.0.1:8080", "http://[fd00::1]:8080"}},
		{gestor.AppSettings{Domains: []string{"a.example", "*.a.example"}, Port: 8080}, []string{"http://a.example:8080"}},
	} {
		if got := addressesOf(c.settings, hosts); !slices.Equal(got, c.want) {
			t.Errorf("%+v: got %v, want %v", c.settings, got, c.want)
		}
	}
}
