package cmd

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
)

func (r *run) contextCmd() *cobra.Command {
	return noun("context", "The servers this computer knows", []string{"contexts"},
		r.contextListCmd(), r.contextShowCmd(), r.contextUseCmd(), r.contextRemoveCmd())
}

// contextView is a context without its token.
type contextView struct {
	Name     string `json:"name"`
	URL      string `json:"url"`
	Email    string `json:"email"`
	Tenant   string `json:"tenant"`
	SignedIn bool   `json:"signed_in"`
	Current  bool   `json:"current"`
	OwnRoot  bool   `json:"own_root"`

	Servers []string `json:"servers"` // addresses
}

func (r *run) contextListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the contexts", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			views, err := r.contextViews()
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Value(map[string]any{"contexts": views})
			}
			t := output.NewTable("NAME", "SERVER", "USER", "TENANT", "")
			for _, v := range views {
				mark := output.Styled("")
				if v.Current {
					mark = r.out.State("current")
				}
				t.Row(v.Name, v.URL, v.Email, v.Tenant, mark)
			}
			r.out.Table(t, "no server is known yet; run: gestor login https://your-server")
			return nil
		},
	}
}

func (r *run) contextViews() ([]contextView, error) {
	all, err := r.contexts()
	if err != nil {
		return nil, err
	}
	views := make([]contextView, 0, len(all.Contexts))
	for _, name := range all.Names() {
		views = append(views, viewContext(all, name, all.Contexts[name]))
	}
	return views, nil
}

func viewContext(all *client.Contexts, name string, c client.Context) contextView {
	servers := []string{}
	for _, s := range c.Servers {
		servers = append(servers, s.Address)
	}
	return contextView{
		Servers: servers,
		Name:    name, URL: c.URL, Email: c.Email, Tenant: c.Tenant,
		SignedIn: c.Token != "", Current: name == all.Current, OwnRoot: c.Roots != "",
	}
}

func (r *run) contextShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show [name]", Short: "Show a context, the current one if none is named", Args: cobra.MaximumNArgs(1),
		ValidArgsFunction: r.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := r.contexts()
			if err != nil {
				return err
			}
			name, c, err := all.Get(optional(args))
			if err != nil {
				return err
			}
			v := viewContext(all, name, c)
			if r.out.JSON {
				return r.out.Value(v)
			}
			r.out.Fields(
				[2]any{"name", v.Name}, [2]any{"server", v.URL}, [2]any{"servers", strings.Join(v.Servers, " ")}, [2]any{"user", v.Email}, [2]any{"tenant", v.Tenant},
				[2]any{"signed in", yesNo(v.SignedIn)}, [2]any{"current", yesNo(v.Current)}, [2]any{"own root", yesNo(v.OwnRoot)},
			)
			return nil
		},
	}
}

func (r *run) contextUseCmd() *cobra.Command {
	return &cobra.Command{
		Use: "use <name>", Short: "Make a context the current one", Args: cobra.ExactArgs(1),
		ValidArgsFunction: r.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := r.contexts()
			if err != nil {
				return err
			}
			if err := all.Use(args[0]); err != nil {
				return err
			}
			return r.done("context", args[0], "now talking to %s at %s", args[0], all.Contexts[args[0]].URL)
		},
	}
}

func (r *run) contextRemoveCmd() *cobra.Command {
	return &cobra.Command{
		Use: "remove <name>", Aliases: []string{"rm"}, Short: "Forget a context and its token", Args: cobra.ExactArgs(1),
		Long:              "Forget a context and its token. The session on the server stays; gestor logout ends that.",
		ValidArgsFunction: r.completeContexts,
		RunE: func(_ *cobra.Command, args []string) error {
			all, err := r.contexts()
			if err != nil {
				return err
			}
			if err := all.Remove(args[0]); err != nil {
				return err
			}
			return r.done("removed", args[0], "forgot context %s", args[0])
		},
	}
}

// done reports a small success: a sentence for people, an object with one key for programs.
func (r *run) done(key, value, format string, args ...any) error {
	if r.out.JSON {
		return r.out.Value(map[string]string{key: value})
	}
	r.out.Linef(format, args...)
	return nil
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
