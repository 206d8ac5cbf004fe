package api

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Sealer seals what must not be in the state in clear, and opens it. place names where the value lives.
type Sealer interface {
	Seal(plaintext []byte, place string) []byte
	Open(sealed []byte, place string) ([]byte, error)
	Has(key string) bool // whether values sealed with a key, by its id, can be opened
}

// Detector starts looks into repositories.
type Detector interface {
	CreateDetect(ctx context.Context, c deploy.Call, source *agentv1.Source) (gestor.TaskID, error)
}

// Remover starts the removal of apps.
type Remover interface {
	DeleteApp(ctx context.Context, c deploy.Call, app gestor.AppID, purge bool) ([]gestor.TaskID, error)
}

// AppDeps are what the app service needs; all of it.
type AppDeps struct {
	Engine   Engine
	Sealer   Sealer
	Detector Detector
	Remover  Remover
}

// AppService keeps the applications of a tenant.
type AppService struct{ deps AppDeps }

var _ gestorv1connect.AppServiceHandler = (*AppService)(nil)

// NewAppService makes the service.
func NewAppService(d AppDeps) *AppService { return &AppService{deps: d} }

// ListApps lists the tenant's apps by slug.
func (s *AppService) ListApps(ctx context.Context, req *gestorv1.ListAppsRequest) (*gestorv1.ListAppsResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	apps, next, err := r.view.Apps(ctx, pageIn(req.GetPage()))
	if err != nil {
		return nil, err
	}
	out, err := r.appsOut(ctx, apps...)
	return &gestorv1.ListAppsResponse{Apps: out, Page: pageOut(next)}, err
}

// GetApp returns one app.
func (s *AppService) GetApp(ctx context.Context, req *gestorv1.GetAppRequest) (*gestorv1.GetAppResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.appOut(ctx, req.GetApp())
	return &gestorv1.GetAppResponse{App: app}, err
}

// CreateApp makes an app and its deploy key.
func (s *AppService) CreateApp(ctx context.Context, req *gestorv1.CreateAppRequest) (*gestorv1.CreateAppResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	if err := gestor.CheckSlug("slug", req.GetSlug()); err != nil {
		return nil, err
	}
	settings, err := r.settingsIn(ctx, req.GetSettings())
	if err != nil {
		return nil, err
	}
	app := gestor.App{ID: gestor.NewID[gestor.AppID]("app"), TenantID: r.caller.Tenant, Slug: req.GetSlug(), Settings: settings}
	if err := r.stays(app.ID, settings); err != nil {
		return nil, err
	}
	if err := s.giveDeployKey(&app); err != nil {
		return nil, err
	}
	receipt, err := r.propose(ctx, req.GetRequestId(), command.CreateApp{App: app})
	if err != nil {
		return nil, err
	}
	out, err := r.appOut(ctx, receipt.Object)
	return &gestorv1.CreateAppResponse{App: out}, err
}

// giveDeployKey makes the key with which the app's repository is read. Only the sealed form of the private half is kept.
func (s *AppService) giveDeployKey(app *gestor.App) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make a deploy key: %w", err)
	}
	comment := "gestor-" + app.Slug
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return fmt.Errorf("write the deploy key: %w", err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return fmt.Errorf("write the deploy key: %w", err)
	}
	app.DeployKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(line))) + " " + comment
	app.DeployKeySealed = s.deps.Sealer.Seal(pem.EncodeToMemory(block), gestor.DeployKeyPlace(app.ID))
	return nil
}

// UpdateApp replaces the settings of an app.
func (s *AppService) UpdateApp(ctx context.Context, req *gestorv1.UpdateAppRequest) (*gestorv1.UpdateAppResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	settings, err := r.settingsIn(ctx, req.GetSettings())
	if err != nil {
		return nil, err
	}
	if err := r.stays(app.ID, settings); err != nil {
		return nil, err
	}
	op := command.UpdateApp{
		ID: app.ID, Settings: settings, ExpectedRevision: req.GetExpectedRevision(),
		MayUnprotect: r.caller.May(gestorv1.Permission_PERMISSION_TENANT_CONFIGURE),
	}
	if _, err := r.propose(ctx, req.GetRequestId(), op); err != nil {
		return nil, err
	}
	out, err := r.appOut(ctx, string(app.ID))
	return &gestorv1.UpdateAppResponse{App: out}, err
}

// DeleteApp starts the removal of an app from its nodes.
func (s *AppService) DeleteApp(ctx context.Context, req *gestorv1.DeleteAppRequest) (*gestorv1.DeleteAppResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	tasks, err := s.deps.Remover.DeleteApp(ctx, r.call(req.GetRequestId()), app.ID, req.GetPurge())
	if err != nil {
		return nil, err
	}
	out := &gestorv1.DeleteAppResponse{}
	for _, id := range tasks {
		out.TaskIds = append(out.TaskIds, string(id))
	}
	return out, nil
}

// DetectApp starts a look into a repository.
func (s *AppService) DetectApp(ctx context.Context, req *gestorv1.DetectAppRequest) (*gestorv1.DetectAppResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	source, err := sourceIn(req)
	if err != nil {
		return nil, err
	}
	id, err := s.deps.Detector.CreateDetect(ctx, r.call(req.GetRequestId()), source)
	return &gestorv1.DetectAppResponse{TaskId: string(id)}, err
}

// sourceIn checks a source like the settings of an app, under the names of the request's own fields.
func sourceIn(req *gestorv1.DetectAppRequest) (*agentv1.Source, error) {
	tidy := gestor.AppSettings{Repository: req.GetRepository(), Branch: req.GetRef(), Root: req.GetRoot(), KnownHosts: req.GetKnownHosts()}.Normalize()
	for _, err := range []error{
		gestor.CheckRepository("repository", tidy.Repository), gestor.CheckRef("ref", tidy.Branch),
		gestor.CheckPath("root", tidy.Root), gestor.CheckKnownHosts("known_hosts", tidy.KnownHosts),
	} {
		if err != nil {
			return nil, err
		}
	}
	return &agentv1.Source{Repository: tidy.Repository, Ref: tidy.Branch, Root: tidy.Root, KnownHosts: tidy.KnownHosts}, nil
}

// call is the caller's name and request id, for services that propose themselves.
func (r reach) call(requestID string) deploy.Call {
	return deploy.Call{Actor: r.caller.Actor, RequestID: requestID}
}

// settingsIn converts and checks settings, nodes included.
func (r reach) settingsIn(ctx context.Context, in *gestorv1.AppSettings) (gestor.AppSettings, error) {
	if in == nil {
		return gestor.AppSettings{}, fault.Invalid("settings", "they are missing").WithFix("send at least the repository")
	}
	s, err := settingsIn(in)
	if err != nil {
		return gestor.AppSettings{}, err
	}
	s.Nodes, err = r.nodeIDs(ctx, "settings.nodes", s.Nodes)
	return s, err
}
