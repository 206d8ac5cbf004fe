package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/secret"
)

// RevealEnv returns values. The audit log has it before the caller has.
func (s *AppService) RevealEnv(ctx context.Context, req *gestorv1.RevealEnvRequest) (*gestorv1.RevealEnvResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	vars, err := r.envAt(ctx, app, req.GetVersion())
	if err != nil {
		return nil, err
	}
	if vars, err = varsNamed(vars, req.GetNames()); err != nil {
		return nil, err
	}
	values, unreadable, err := s.open(app, vars)
	if err != nil {
		return nil, err
	}
	if len(unreadable) > 0 && len(req.GetNames()) > 0 {
		return nil, s.lost(app, vars, unreadable)
	}
	if err := r.recordRead(ctx, string(app.ID), readDetail(app, req.GetVersion(), values)); err != nil {
		return nil, err
	}
	return &gestorv1.RevealEnvResponse{Values: values, Unreadable: unreadable}, nil
}

// readDetail is what the audit log says of values that somebody gets to see.
func readDetail(app gestor.App, version int64, values map[string]string) map[string]any {
	detail := map[string]any{"app": app.Slug, "names": slices.Sorted(maps.Keys(values))}
	if version != 0 {
		detail["version"] = version
	}
	return detail
}

// envAt are the variables of a version; of the newest if it is 0.
func (r reach) envAt(ctx context.Context, app gestor.App, version int64) ([]gestor.EnvVar, error) {
	vars, err := r.view.EnvAt(ctx, app.ID, version)
	if errors.Is(err, fault.KindNotFound) {
		return nil, fault.NotFound("app %s has no version %d of its variables", app.Slug, version).WithFix("see `gestor apps env history`")
	}
	return vars, err
}

// varsNamed are the variables of some names; all if there are none.
func varsNamed(vars []gestor.EnvVar, names []string) ([]gestor.EnvVar, error) {
	if len(names) == 0 {
		return vars, nil
	}
	var out []gestor.EnvVar
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		i := slices.IndexFunc(vars, func(v gestor.EnvVar) bool { return v.Name == name })
		if i < 0 {
			return nil, fault.NotFound("there is no variable %q", name).WithFix("see `gestor apps env list`")
		}
		out = append(out, vars[i])
	}
	return out, nil
}

// open opens values. Those whose key is lost are named; damage is an error.
func (s *AppService) open(app gestor.App, vars []gestor.EnvVar) (values map[string]string, unreadable []string, err error) {
	values = make(map[string]string, len(vars))
	for _, v := range vars {
		plain, err := s.deps.Sealer.Open(v.Sealed, gestor.EnvPlace(app.ID, v.Name))
		if _, lost := errors.AsType[*secret.MissingKeyError](err); lost {
			unreadable = append(unreadable, v.Name)
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("variable %s: %w", v.Name, err)
		}
		values[v.Name] = string(plain)
	}
	return values, unreadable, nil
}

// lost says that values cannot be read, and what to do.
func (s *AppService) lost(app gestor.App, vars []gestor.EnvVar, unreadable []string) error {
	var keys []string
	for _, v := range vars {
		if id := s.missing(v); id != "" {
			keys = append(keys, id)
		}
	}
	return fault.Conflict("%s of app %s cannot be read: the key %s that sealed it is lost",
		strings.Join(unreadable, ", "), app.Slug, strings.Join(slices.Compact(slices.Sorted(slices.Values(keys))), ", ")).
		WithFix("put the key back into the servers' key ring, or set the variable anew: gestor apps env set --app %s", app.Slug)
}

// missing is the id of the key that the server lacks to read a variable; empty for none.
func (s *AppService) missing(v gestor.EnvVar) string {
	if id, ok := secret.KeyOf(v.Sealed); ok && !s.deps.Sealer.Has(id) {
		return id
	}
	return ""
}

// ExportEnv returns the variables in a file that only its recipients can open.
func (s *AppService) ExportEnv(ctx context.Context, req *gestorv1.ExportEnvRequest) (*gestorv1.ExportEnvResponse, error) {
	r, err := reachOf(ctx, s.deps.Engine)
	if err != nil {
		return nil, err
	}
	app, err := r.app(ctx, req.GetApp())
	if err != nil {
		return nil, err
	}
	recipients, err := recipientsIn(req.GetRecipients())
	if err != nil {
		return nil, err
	}
	vars, err := r.envAt(ctx, app, req.GetVersion())
	if err != nil {
		return nil, err
	}
	values, unreadable, err := s.open(app, vars)
	if err != nil {
		return nil, err
	}
	if len(unreadable) > 0 {
		return nil, s.lost(app, vars, unreadable)
	}
	file, err := encrypted(dotenv(values), recipients)
	if err != nil {
		return nil, err
	}
	detail := readDetail(app, req.GetVersion(), values)
	detail["recipients"] = req.GetRecipients()
	if err := r.recordRead(ctx, string(app.ID), detail); err != nil {
		return nil, err
	}
	return &gestorv1.ExportEnvResponse{File: file, Vars: int32(len(values))}, nil
}

// recipientsIn reads public keys.
func recipientsIn(lines []string) ([]age.Recipient, error) {
	out := make([]age.Recipient, 0, len(lines))
	for i, line := range lines {
		one, err := recipientIn(strings.TrimSpace(line))
		if err != nil {
			return nil, fault.Invalid(fmt.Sprintf("recipients[%d]", i), "it is neither an age recipient nor an ssh public key").
				WithFix("give age1… or the line of an ssh-ed25519 or ssh-rsa key, as in ~/.ssh/id_ed25519.pub").WithCause(err)
		}
		out = append(out, one)
	}
	return out, nil
}

func recipientIn(line string) (age.Recipient, error) {
	if strings.HasPrefix(line, "ssh-") {
		return agessh.ParseRecipient(line)
	}
	return age.ParseX25519Recipient(line)
}

// encrypted is an armored age file.
func encrypted(plain string, to []age.Recipient) (string, error) {
	var out bytes.Buffer
	text := armor.NewWriter(&out)
	w, err := age.Encrypt(text, to...)
	if err != nil {
		return "", fmt.Errorf("encrypt the export: %w", err)
	}
	if _, err := io.WriteString(w, plain); err != nil {
		return "", fmt.Errorf("encrypt the export: %w", err)
	}
	if err := errors.Join(w.Close(), text.Close()); err != nil {
		return "", fmt.Errorf("encrypt the export: %w", err)
	}
	return out.String(), nil
}

// dotenv writes variables as `gestor apps env import` reads them.
func dotenv(values map[string]string) string {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`, "\n", `\n`, "\r", `\r`, "\t", `\t`)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.WriteString(name + `="` + escape.Replace(values[name]) + "\"\n")
	}
	return b.String()
}
