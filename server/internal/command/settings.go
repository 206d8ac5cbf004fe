package command

import (
	"time"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"google.golang.org/protobuf/types/known/durationpb"
)

// EncodeSettings turns settings into the contract's form, which is also the replicated one.
func EncodeSettings(s gestor.AppSettings) *gestorv1.AppSettings {
	m := &gestorv1.AppSettings{
		Name:          s.Name,
		Repository:    s.Repository,
		Branch:        s.Branch,
		Type:          appTypes.encode(s.Type),
		Environment:   environments.encode(s.Environment),
		Domains:       s.Domains,
		Port:          int32(s.Port),
		Root:          s.Root,
		BuildCommand:  s.BuildCommand,
		StartCommand:  s.StartCommand,
		Output:        s.Output,
		HealthPath:    s.HealthPath,
		HealthTimeout: span(s.HealthTimeout),
		Drain:         span(s.Drain),
		Nodes:         texts(s.Nodes),
		Keep:          int32(s.Keep),
		Shared:        s.Shared,
		Submodules:    s.Submodules,
		Lfs:           s.LFS,
		PreSwitch:     s.PreSwitch,
		PostSwitch:    s.PostSwitch,
		KnownHosts:    s.KnownHosts,
		Limits:        encodeLimits(s.Limits),
		BuildLimits:   encodeLimits(s.BuildLimits),
	}
	if s.Watch != nil {
		m.Watch = durationpb.New(*s.Watch)
	}
	return m
}

// DecodeSettings turns the contract's form back. It checks nothing.
func DecodeSettings(m *gestorv1.AppSettings) gestor.AppSettings {
	return gestor.AppSettings{
		Name:          m.GetName(),
		Repository:    m.GetRepository(),
		Branch:        m.GetBranch(),
		Type:          appTypes.decode(m.GetType()),
		Environment:   environments.decode(m.GetEnvironment()),
		Domains:       m.GetDomains(),
		Port:          int(m.GetPort()),
		Root:          m.GetRoot(),
		BuildCommand:  m.GetBuildCommand(),
		StartCommand:  m.GetStartCommand(),
		Output:        m.GetOutput(),
		HealthPath:    m.GetHealthPath(),
		HealthTimeout: m.GetHealthTimeout().AsDuration(),
		Watch:         optionalSpan(m.GetWatch()),
		Drain:         m.GetDrain().AsDuration(),
		Nodes:         ids[gestor.NodeID](m.GetNodes()),
		Keep:          int(m.GetKeep()),
		Shared:        m.GetShared(),
		Submodules:    m.GetSubmodules(),
		LFS:           m.GetLfs(),
		PreSwitch:     m.GetPreSwitch(),
		PostSwitch:    m.GetPostSwitch(),
		KnownHosts:    m.GetKnownHosts(),
		Limits:        decodeLimits(m.GetLimits()),
		BuildLimits:   decodeLimits(m.GetBuildLimits()),
	}
}

func optionalSpan(m *durationpb.Duration) *time.Duration {
	if m == nil {
		return nil
	}
	d := m.AsDuration()
	return &d
}

func encodeLimits(l gestor.Limits) *gestorv1.Limits {
	if l == (gestor.Limits{}) {
		return nil
	}
	return &gestorv1.Limits{
		MemoryBytes: l.MemoryBytes,
		Cpus:        l.CPUs,
		Processes:   int32(l.Processes),
		Time:        span(l.Time),
		DiskBytes:   l.DiskBytes,
	}
}

func decodeLimits(m *gestorv1.Limits) gestor.Limits {
	return gestor.Limits{
		MemoryBytes: m.GetMemoryBytes(),
		CPUs:        m.GetCpus(),
		Processes:   int(m.GetProcesses()),
		Time:        m.GetTime().AsDuration(),
		DiskBytes:   m.GetDiskBytes(),
	}
}
