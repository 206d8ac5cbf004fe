package api

import (
	"net"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
	"google.golang.org/protobuf/types/known/durationpb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var appStatuses = map[gestor.AppStatus]gestorv1.AppStatus{
	gestor.AppInactive:  gestorv1.AppStatus_APP_STATUS_INACTIVE,
	gestor.AppActive:    gestorv1.AppStatus_APP_STATUS_ACTIVE,
	gestor.AppDeploying: gestorv1.AppStatus_APP_STATUS_DEPLOYING,
	gestor.AppError:     gestorv1.AppStatus_APP_STATUS_ERROR,
	gestor.AppDeleting:  gestorv1.AppStatus_APP_STATUS_DELETING,
}

// appOut converts an app; addresses is where people reach it.
func appOut(a gestor.App, addresses []string) *gestorv1.App {
	return &gestorv1.App{
		Id:                 string(a.ID),
		Slug:               a.Slug,
		Settings:           command.EncodeSettings(a.Settings),
		Status:             appStatuses[a.Status],
		CurrentReleaseId:   string(a.CurrentRelease),
		ActiveDeploymentId: string(a.ActiveDeployment),
		DeployKey:          a.DeployKey,
		CreatedAt:          timeOut(a.CreatedAt),
		UpdatedAt:          timeOut(a.UpdatedAt),
		Revision:           a.Revision,
		Addresses:          addresses,
	}
}

// settingsIn converts settings as they came, normalised and checked. Nodes are still what the caller wrote, ids or
// names.
func settingsIn(in *gestorv1.AppSettings) (gestor.AppSettings, error) {
	if err := checkSpans(in); err != nil {
		return gestor.AppSettings{}, err
	}
	s := command.DecodeSettings(in)
	s.Domains = domainsIn(in.GetDomains())
	s = s.Normalize()
	return s, s.Validate("settings")
}

func checkSpans(in *gestorv1.AppSettings) error {
	for _, f := range []struct {
		field string
		span  *durationpb.Duration
	}{
		{"settings.health_timeout", in.GetHealthTimeout()},
		{"settings.drain", in.GetDrain()},
		{"settings.watch", in.GetWatch()},
		{"settings.limits.time", in.GetLimits().GetTime()},
		{"settings.build_limits.time", in.GetBuildLimits().GetTime()},
	} {
		if _, err := spanIn(f.field, f.span); err != nil {
			return err
		}
	}
	return nil
}

// domainsIn writes names with other letters in their xn-- form. What idna refuses stays as it is, for the check to
// refuse with the name of the field.
func domainsIn(domains []string) []string {
	out := make([]string, len(domains))
	for i, d := range domains {
		out[i] = domainIn(d)
	}
	return out
}

func domainIn(d string) string {
	rest, wildcard := strings.CutPrefix(strings.TrimSpace(d), "*.")
	ascii, err := idna.Lookup.ToASCII(rest)
	if err != nil {
		return d
	}
	if wildcard {
		return "*." + ascii
	}
	return ascii
}

// addressesOf is where an app answers, as far as its settings and its nodes tell: by its names, or else on the first
// address of each node.
func addressesOf(s gestor.AppSettings, hosts []string) []string {
	var out []string
	for _, d := range s.Domains {
		if !strings.HasPrefix(d, "*.") {
			out = append(out, httpAddress(d, s.Port))
		}
	}
	if len(s.Domains) > 0 {
		return out
	}
	for _, h := range hosts {
		out = append(out, httpAddress(h, s.Port))
	}
	return out
}

func httpAddress(host string, port int) string {
	if port != 0 && port != 80 {
		return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
	}
	if strings.Contains(host, ":") { // an IPv6 address
		host = "[" + host + "]"
	}
	return "http://" + host
}
