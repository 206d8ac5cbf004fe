package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"path/filepath"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1/agentv1connect"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/api"
	"github.com/saas-gestor/gestor/server/internal/audit"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/backup"
	"github.com/saas-gestor/gestor/server/internal/blob"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/diskspace"
	"github.com/saas-gestor/gestor/server/internal/dispatch"
	"github.com/saas-gestor/gestor/server/internal/history"
	"github.com/saas-gestor/gestor/server/internal/keyring"
	"github.com/saas-gestor/gestor/server/internal/mail"
	"github.com/saas-gestor/gestor/server/internal/members"
	"github.com/saas-gestor/gestor/server/internal/mirror"
	"github.com/saas-gestor/gestor/server/internal/nodes"
	"github.com/saas-gestor/gestor/server/internal/oidc"
	"github.com/saas-gestor/gestor/server/internal/pki"
	"github.com/saas-gestor/gestor/server/internal/tenants"
	"github.com/saas-gestor/gestor/server/internal/web"
)

// parts are what runs above the engine.
type parts struct {
	handler http.Handler
	tls     *tls.Config
	run     []part
	history *history.Store
	blobs   *blob.Store

	dispatch *dispatch.Dispatcher
	deploy   *deploy.Service
	nodes    *nodes.Service
	mirror   *mirror.Mirror
	members  *members.Service
	disk     *diskspace.Guard
	backups  *backup.Schedule // nil without scheduled backups

	passwords *auth.Passwords
	sessions  *api.SessionService
	factors   *api.FactorService
	providers *oidc.Service
	touches   *api.Touches
	keys      *keyring.Service
	attempts  *audit.Attempts
	mail      mail.Sender
	sender    api.ChannelTester
}

type part struct {
	name string
	run  func(ctx context.Context) error
}

// Close closes the stores.
func (p *parts) Close() error {
	var errs []error
	if p.history != nil {
		errs = append(errs, p.history.Close())
	}
	if p.blobs != nil {
		errs = append(errs, p.blobs.Close())
	}
	return errors.Join(errs...)
}

// passwordsAtOnce bounds the memory of password checks to 2 × 19 MiB.
const passwordsAtOnce = 2

// wire puts the program together: stores, the agents' service, the leader's loops, and the API in front of them.
func wire(s *Server) (_ *parts, err error) {
	p := &parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Close())
		}
	}()
	if p.mail, err = s.sender(); err != nil {
		return nil, err
	}
	dir := s.options.Config.DataDir
	if p.history, err = history.Open(history.Options{Dir: filepath.Join(dir, "logs"), Now: s.clock.Now, Log: s.log}); err != nil {
		return nil, err
	}
	if p.blobs, err = blob.Open(blob.Options{Dir: filepath.Join(dir, "blobs")}); err != nil {
		return nil, err
	}
	p.mirror = mirror.New(mirror.Options{
		Peers: s.port, History: p.history, Blobs: p.blobs, Catalogue: mirror.StateCatalogue{Engine: s.engine, Needed: deploy.NeededArtifacts}, Log: s.log,
	})
	p.dispatch = dispatch.New(dispatch.Options{Engine: s.engine, Times: s.options.Tuning.Dispatch, Now: s.clock.Now, Log: s.log})
	p.deploy = deploy.New(deploy.Options{Engine: s.engine, Now: s.clock.Now, Log: s.log})
	p.nodes = nodes.New(nodes.Options{
		Engine: s.engine, History: p.mirror, Blobs: p.mirror, Secrets: nodes.NewVault(s.engine, s.ring), Leases: p.dispatch,
		Peers: nodes.OverPort(s.port), Servers: s.agentAddresses,
		Caller: auth.NodeFrom, ClusterID: s.id.cluster.ID, Version: s.options.Version, Times: s.options.Tuning.Nodes, Now: s.clock.Now, Log: s.log,
	})
	retention := deploy.NewRetention(deploy.RetentionOptions{Engine: s.engine, History: p.history, Blobs: p.blobs, Clock: s.clock, Log: s.log})

	s.engine.OnTerm("dispatch", p.dispatch.RunTerm)
	s.engine.OnTerm("deploy", p.deploy.RunTerm)
	s.engine.OnTerm("nodes", p.nodes.RunTerm)
	s.engine.OnTerm("retention", retention.RunTerm)
	s.engine.OnTerm("tenants", tenants.New(tenants.Options{Engine: s.engine, Remover: p.deploy, Clock: s.clock, Log: s.log}).RunTerm)
	p.run = []part{{"engine", s.engine.Run}, {"nodes", p.nodes.Run}, {"mirror", p.mirror.Run}, {"retention", retention.Run}}
	if err := s.wireGuards(p); err != nil {
		return nil, err
	}
	s.wireAudit(p)
	if err := s.wireSignIn(p); err != nil {
		return nil, err
	}
	if err := s.wireProviders(p); err != nil {
		return nil, err
	}
	s.wireKeys(p)
	s.wirePeers(p)
	if err := s.wireEvents(p); err != nil {
		return nil, err
	}

	verifier := pki.AgentVerifier{Roots: s.id.agentRoot.Pool(), Cluster: string(s.id.cluster.ID), Now: s.clock.Now}
	p.tls = pki.ServerConfig(s.leaf, verifier)
	pki.ResumeSessions(p.tls, s.id.serverRoot, s.clock.Now)
	limits := s.limits()
	p.handler, err = api.New(api.Deps{
		Engine: s.engine, Revision: s.engine.Revision, Agents: verifier, RootPEM: s.id.serverRoot.PEM(),
		Version: s.options.Version, Mounts: s.mounts(p), Checks: s.checks(p), Log: s.log.With("component", "api"),
		Changes: s.engine.Version, Servers: s.directory(), Barrier: s.engine.Barrier, Contact: s.engine.LastContact, Limits: limits, Served: s.served, Seen: p.touches.Note, Refused: s.metrics.Refused,
		Attempts: p.attempts, Pages: s.pages(p),
		Metrics: s.metrics.Handler(), Now: s.clock.Now,
	})
	s.wireOperations(p, limits)
	return p, err
}

// pages are what is served to browsers beside the services.
func (s *Server) pages(p *parts) func(services http.Handler) (http.Handler, error) {
	return func(services http.Handler) (http.Handler, error) {
		return web.New(web.Options{API: services, Providers: p.providers, Log: s.log.With("component", "web")})
	}
}

// mounts are all services of the contract.
func (s *Server) mounts(p *parts) []api.Mount {
	passwords := p.passwords
	log := s.log.With("component", "api")
	setup := api.NewSetupService(api.SetupDeps{
		Engine: s.engine, Passwords: passwords, Guesses: auth.NewThrottle(auth.ThrottleOptions{}), Claimed: s.claimed,
		Version: s.options.Version, Now: s.clock.Now, Log: log,
	})
	enrollment := api.NewEnrollmentService(api.EnrollmentDeps{
		Engine: s.engine, AgentRoot: s.id.agentRoot, ServerRoot: s.id.serverRoot, Cluster: s.id.cluster.ID,
		Servers: s.agentAddresses, Handover: s.handover, Barrier: s.engine.Barrier, Guesses: auth.NewThrottle(auth.ThrottleOptions{Free: 10}), Now: s.clock.Now, Log: log,
	})
	apps := api.NewAppService(api.AppDeps{Engine: s.engine, Sealer: s.ring, Detector: p.dispatch, Remover: p.deploy})
	builds := api.NewBuildService(api.BuildDeps{Engine: s.engine, Builder: p.deploy})
	deployments := api.NewDeploymentService(api.DeploymentDeps{Engine: s.engine, Deployer: p.deploy, Now: s.clock.Now})
	releases := api.NewReleaseService(api.ReleaseDeps{Engine: s.engine})
	tasks := api.NewTaskService(api.TaskDeps{Engine: s.engine})
	logs := api.NewLogService(api.LogDeps{Engine: s.engine, Tasks: p.mirror, Apps: p.nodes})
	tokens := api.NewTokenService(api.TokenDeps{Engine: s.engine, Now: s.clock.Now})
	logins := api.NewLoginService(api.LoginDeps{Engine: s.engine, Vault: s.ring, PublicURL: s.publicURLs()[0], Now: s.clock.Now})
	hosts := api.NewNodeService(api.NodeDeps{Engine: s.engine, Loads: p.nodes, Pin: s.id.serverRoot.Pin(), PublicURL: s.publicURLs()[0], Now: s.clock.Now})
	return append(append(s.people(p, passwords), p.signIn()...),
		serve(gestorv1connect.NewSetupServiceHandler)(setup),
		serve(agentv1connect.NewEnrollmentServiceHandler)(enrollment),
		serve(agentv1connect.NewAgentServiceHandler)(p.nodes),
		serve(gestorv1connect.NewAppServiceHandler)(apps),
		serve(gestorv1connect.NewBuildServiceHandler)(builds),
		serve(gestorv1connect.NewDeploymentServiceHandler)(deployments),
		serve(gestorv1connect.NewReleaseServiceHandler)(releases),
		serve(gestorv1connect.NewTaskServiceHandler)(tasks),
		serve(gestorv1connect.NewLogServiceHandler)(logs),
		serve(gestorv1connect.NewNodeServiceHandler)(hosts),
		serve(gestorv1connect.NewTokenServiceHandler)(tokens),
		serve(gestorv1connect.NewLoginServiceHandler)(logins),
		serve(gestorv1connect.NewServerServiceHandler)(s.serverService(p)),
		serve(gestorv1connect.NewAuditServiceHandler)(api.NewAuditService(api.AuditDeps{Engine: s.engine, Blobs: p.mirror})),
		serve(gestorv1connect.NewProtectionServiceHandler)(api.NewProtectionService(api.ProtectionDeps{Engine: s.engine})),
		serve(gestorv1connect.NewPermissionServiceHandler)(api.NewPermissionService()),
		serve(gestorv1connect.NewEventServiceHandler)(api.NewEventService(api.EventDeps{Engine: s.engine})),
		serve(gestorv1connect.NewChannelServiceHandler)(api.NewChannelService(api.ChannelDeps{
			Engine: s.engine, Sealer: s.ring, Tester: p.sender, Mail: p.mail.Configured,
		})),
		serve(gestorv1connect.NewProviderServiceHandler)(api.NewProviderService(api.ProviderDeps{Engine: s.engine, Sealer: s.ring, Tester: p.providers})),
		serve(gestorv1connect.NewTenantServiceHandler)(api.NewTenantService(api.TenantDeps{Engine: s.engine})),
	)
}

// serve binds a generated constructor of handlers; what it returns takes the service.
func serve[H any](constructor func(H, ...connect.HandlerOption) (string, http.Handler)) func(H) api.Mount {
	return func(service H) api.Mount {
		return func(o ...connect.HandlerOption) (string, http.Handler) { return constructor(service, o...) }
	}
}

// claimed tidies up after somebody has taken the installation.
func (s *Server) claimed() {
	if err := forgetSetupSecret(s.options.Config.DataDir); err != nil {
		s.log.Warn("setup secret not removed", "err", err)
	}
}
