package api

import (
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/idna"
	"google.golang.org/protobuf/types/known/durationpb"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

var appTypes = map[gestor.AppType]gestorv1.AppType{
	"":                gestorv1.AppType_APP_TYPE_UNSPECIFIED,
	gestor.TypeNode:   gestorv1.AppType_APP_TYPE_NODE,
	gestor.TypePHP:    gestorv1.AppType_APP_TYPE_PHP,
	gestor.TypePython: gestorv1.AppType_APP_TYPE_PYTHON,
	gestor.TypeStatic: gestorv1.AppType_APP_TYPE_STATIC,
	gestor.TypeDocker: gestorv1.AppType_APP_TYPE_DOCKER,
}

var environments = map[string]gestorv1.Environment{
	"":            gestorv1.Environment_ENVIRONMENT_UNSPECIFIED,
	"development": gestorv1.Environment_ENVIRONMENT_DEVELOPMENT,
	"staging":     gestorv1.Environment_ENVIRONMENT_STAGING,
	"production":  gestorv1.Environment_ENVIRONMENT_PRODUCTION,
}

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
		Settings:           settingsOut(a.Settings),
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

func settingsOut(s gestor.AppSettings) *gestorv1.AppSettings {
	out := &gestorv1.AppSettings{
		Name:          s.Name,
		Repository:    s.Repository,
		Branch:        s.Branch,
		Type:          appTypes[s.Type],
		Environment:   environments[s.Environment],
		Domains:       s.Domains,
		Port:          int32(s.Port),
		Root:          s.Root,
		BuildCommand:  s.BuildCommand,
		StartCommand:  s.StartCommand,
		Output:        s.Output,
		HealthPath:    s.HealthPath,
		HealthTimeout: spanOut(s.HealthTimeout),
		Drain:         spanOut(s.Drain),
		Nodes:         nodeIDsOut(s.Nodes),
		Keep:          int32(s.Keep),
		Shared:        s.Shared,
		Submodules:    s.Submodules,
		Lfs:           s.LFS,
		PreSwitch:     s.PreSwitch,
		PostSwitch:    s.PostSwitch,
		KnownHosts:    s.KnownHosts,
		Limits:        limitsOut(s.Limits),
		BuildLimits:   limitsOut(s.BuildLimits),
	}
	if s.Watch != nil {
		out.Watch = durationpb.New(*s.Watch)
	}
	return out
}

func nodeIDsOut(ids []gestor.NodeID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

func limitsOut(l gestor.Limits) *gestorv1.Limits {
	if l == (gestor.Limits{}) {
		return nil
	}
	return &gestorv1.Limits{
		MemoryBytes: l.MemoryBytes, Cpus: l.CPUs, Processes: int32(l.Processes), Time: spanOut(l.Time), DiskBytes: l.DiskBytes,
	}
}

// settingsIn converts settings as they came, normalised and checked. Nodes are still what the caller wrote, ids or
// names.
func settingsIn(in *gestorv1.AppSettings) (gestor.AppSettings, error) {
	s := gestor.AppSettings{
		Name:         in.GetName(),
		Repository:   in.GetRepository(),
		Branch:       in.GetBranch(),
		Type:         keyOf(appTypes, in.GetType()),
		Environment:  keyOf(environments, in.GetEnvironment()),
		Domains:      domainsIn(in.GetDomains()),
		Port:         int(in.GetPort()),
		Root:         in.GetRoot(),
		BuildCommand: in.GetBuildCommand(),
		StartCommand: in.GetStartCommand(),
		Output:       in.GetOutput(),
		HealthPath:   in.GetHealthPath(),
		Nodes:        nodeIDsIn(in.GetNodes()),
		Keep:         int(in.GetKeep()),
		Shared:       in.GetShared(),
		Submodules:   in.GetSubmodules(),
		LFS:          in.GetLfs(),
		PreSwitch:    in.GetPreSwitch(),
		PostSwitch:   in.GetPostSwitch(),
		KnownHosts:   in.GetKnownHosts(),
	}
	if err := spansIn(in, &s); err != nil {
		return gestor.AppSettings{}, err
	}
	s = s.Normalize()
	return s, s.Validate("settings")
}

func spansIn(in *gestorv1.AppSettings, s *gestor.AppSettings) error {
	var err error
	if s.HealthTimeout, err = spanIn("settings.health_timeout", in.GetHealthTimeout()); err != nil {
		return err
	}
	if s.Drain, err = spanIn("settings.drain", in.GetDrain()); err != nil {
		return err
	}
	if in.GetWatch() != nil {
		var watch time.Duration
		if watch, err = spanIn("settings.watch", in.GetWatch()); err != nil {
			return err
		}
		s.Watch = &watch
	}
	if s.Limits, err = limitsIn("settings.limits", in.GetLimits()); err != nil {
		return err
	}
	s.BuildLimits, err = limitsIn("settings.build_limits", in.GetBuildLimits())
	return err
}

func limitsIn(field string, in *gestorv1.Limits) (gestor.Limits, error) {
	span, err := spanIn(field+".time", in.GetTime())
	return gestor.Limits{
		MemoryBytes: in.GetMemoryBytes(), CPUs: in.GetCpus(), Processes: int(in.GetProcesses()), Time: span, DiskBytes: in.GetDiskBytes(),
	}, err
}

func nodeIDsIn(nodes []string) []gestor.NodeID {
	var out []gestor.NodeID
	for _, n := range nodes {
		out = append(out, gestor.NodeID(n))
	}
	return out
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

func envVarsOut(vars []gestor.EnvVar) []*gestorv1.EnvVar {
	out := make([]*gestorv1.EnvVar, len(vars))
	for i, v := range vars {
		out[i] = &gestorv1.EnvVar{Name: v.Name, UpdatedAt: timeOut(v.UpdatedAt)}
	}
	return out
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
