package api

import (
	"errors"
	"math"
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
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

func TestSettingsIn_RefusesSpansThatDoNotFit(t *testing.T) {
	ages := &durationpb.Duration{Seconds: math.MaxInt64}
	for field, in := range map[string]*gestorv1.AppSettings{
		"settings.health_timeout":    {HealthTimeout: ages},
		"settings.drain":             {Drain: ages},
		"settings.watch":             {Watch: ages},
		"settings.limits.time":       {Limits: &gestorv1.Limits{Time: ages}},
		"settings.build_limits.time": {BuildLimits: &gestorv1.Limits{Time: ages}},
	} {
		_, err := settingsIn(in)
		if f, ok := errors.AsType[*fault.Error](err); !ok || f.Kind != fault.KindInvalid || f.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
