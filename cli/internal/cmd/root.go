package cmd

import (
	"bufio"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// run is one run of gestor: its world, its flags and the connection it has made.
type run struct {
	env     Env
	out     *output.Printer
	answers *bufio.Reader
	conn    *client.Client
	name    string // of the context in use
	servers        // those of the context, and what is to be kept of them

	contextName string
	read        string // how fresh reads must be
	json        bool
	noColor     bool
	timeout     time.Duration
	cancel      context.CancelFunc
	stopped     <-chan struct{} // closed at Ctrl-C
	started     bool            // flags and arguments were in order
}

// Main runs gestor with args, the program's name left out, and returns the exit code.
func Main(ctx context.Context, env Env, args []string) int {
	ctx, stop := env.Interrupts(ctx)
	defer stop()
	r := &run{env: env, out: &output.Printer{Out: env.Stdout, Err: env.Stderr, Now: env.Now}, stopped: ctx.Done()}
	defer r.close()
	root := r.root() //nolint:contextcheck // commands get theirs from cobra, of ExecuteContext below
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	r.remember(ctx)
	if err != nil && !r.started {
		err = asUsage(root, args, err)
	}
	if wasInterrupted(ctx, err) {
		err = ErrInterrupted
	}
	return r.report(err)
}

// wasInterrupted reports an error that only says that Ctrl-C ended a call.
func wasInterrupted(ctx context.Context, err error) bool {
	if _, shown := errors.AsType[reported](err); shown || !errors.Is(context.Cause(ctx), ErrInterrupted) {
		return false
	}
	return errors.Is(err, context.Canceled) || fault.KindOf(err) == fault.KindCancelled
}

func (r *run) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "gestor",
		Short: "Deploy apps to your own servers",
		Long: `gestor deploys apps to your own servers.

Run gestor deploy in a repository: it finds the app, or proposes one, and brings it live.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: r.prepare,
	}
	root.SetIn(r.env.Stdin)
	root.SetOut(r.env.Stdout)
	root.SetErr(r.env.Stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, "%v", err) })
	flags := root.PersistentFlags()
	flags.StringVar(&r.contextName, "context", "", "the server to talk to, by its name in gestor context list")
	flags.StringSliceVar(&r.asked, "server", nil, "talk to these servers of it, host:port; may be repeated (default: those it is known to have)")
	flags.StringVar(&r.read, "read", rpc.ConsistencyLeader, `leader: reads see all that was written before; local: what the asked server
has, which may be old, and also without a majority`)
	flags.BoolVar(&r.json, "json", false, "print JSON: one object, or one object a line for streams")
	flags.BoolVar(&r.noColor, "no-color", false, "print without colours (also: NO_COLOR)")
	flags.DurationVar(&r.timeout, "timeout", 0, "give up after this long, 30s say; the work on the servers goes on")
	_ = root.RegisterFlagCompletionFunc("context", r.completeContexts)
	_ = root.RegisterFlagCompletionFunc("server", r.completeAddresses)
	_ = root.RegisterFlagCompletionFunc("read", cobra.FixedCompletions([]string{rpc.ConsistencyLeader, rpc.ConsistencyLocal}, cobra.ShellCompDirectiveNoFileComp))
	root.CompletionOptions.HiddenDefaultCmd = true
	r.add(root)
	return root
}

func (r *run) add(root *cobra.Command) {
	root.AddGroup(
		&cobra.Group{ID: "work", Title: "Deploy:"},
		&cobra.Group{ID: "things", Title: "Manage:"},
		&cobra.Group{ID: "access", Title: "Server and access:"},
	)
	group(root, "work", r.deployCmd(), r.rollbackCmd(), r.logsCmd(), r.buildCmd(), r.protectCmd())
	group(root, "things", r.appsCmd(), r.nodesCmd(), r.deploymentsCmd(), r.releasesCmd(), r.buildsCmd(), r.tasksCmd(), r.protectionsCmd(), r.eventsCmd(), r.channelsCmd())
	group(root, "access", r.setupCmd(), r.loginCmd(), r.logoutCmd(), r.whoamiCmd(), r.contextCmd(), r.usersCmd(), r.accountCmd(), r.acceptCmd(), r.tokensCmd(), r.providersCmd(), r.permissionsCmd(), r.tenantsCmd(), r.auditCmd(), r.serversCmd())
	root.AddCommand(r.versionCmd(), r.completionCmd(), exitCodesTopic(), environmentTopic())
}

// asUsage names the command whose help explains an error of flags or arguments.
func asUsage(root *cobra.Command, args []string, err error) error {
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	c, _, findErr := root.Find(args)
	if findErr != nil {
		c = root
	}
	return usage(c, "%v", err)
}

// noun is a command that only holds verbs.
func noun(use, short string, aliases []string, verbs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Aliases: aliases, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(verbs...)
	return c
}

func group(root *cobra.Command, id string, cmds ...*cobra.Command) {
	for _, c := range cmds {
		c.GroupID = id
	}
	root.AddCommand(cmds...)
}

// prepare runs before every command, when the flags are known.
func (r *run) prepare(c *cobra.Command, _ []string) error {
	if err := c.ValidateFlagGroups(); err != nil {
		return usage(c, "%v", err)
	}
	r.started = true
	r.out.JSON = r.json
	r.out.Colours = r.env.OutTerminal && !r.json && r.wantsColours()
	if r.read != rpc.ConsistencyLeader && r.read != rpc.ConsistencyLocal {
		return usage(c, "--read must be leader or local, not %q", r.read)
	}
	if r.timeout < 0 {
		return usage(c, "--timeout must be positive")
	}
	if r.timeout > 0 {
		ctx, cancel := context.WithTimeoutCause(c.Context(), r.timeout,
			fault.Timeout("not done after %s; the work on the servers goes on", r.timeout))
		r.cancel = cancel
		c.SetContext(ctx)
	}
	return nil
}

func (r *run) wantsColours() bool {
	return !r.noColor && r.env.Getenv("NO_COLOR") == "" && r.env.Getenv("TERM") != "dumb"
}

func (r *run) close() {
	if r.cancel != nil {
		r.cancel()
	}
	if r.conn != nil {
		r.conn.Close()
	}
}

// contexts opens the contexts file.
func (r *run) contexts() (*client.Contexts, error) {
	dir := r.env.Getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		home := r.env.Getenv("HOME")
		if home == "" {
			return nil, fault.Invalid("HOME", "it is not set, so there is no place for the contexts").WithFix("set HOME or XDG_CONFIG_HOME")
		}
		dir = filepath.Join(home, ".config")
	}
	return client.OpenContexts(filepath.Join(dir, "gestor", "contexts.toml"))
}

// wantedContext is the name given by --context or GESTOR_CONTEXT, empty for the current context.
func (r *run) wantedContext() string {
	if r.contextName != "" {
		return r.contextName
	}
	return r.env.Getenv("GESTOR_CONTEXT")
}

// target finds the installation to talk to: --context, GESTOR_CONTEXT, GESTOR_URL, the current context, in this order.
// --server says where in it. stored is the name of a context in the file whose servers are in use.
func (r *run) target() (name, stored string, c client.Context, err error) {
	name = r.wantedContext()
	if name == "" && r.env.Getenv("GESTOR_URL") != "" {
		if c, err = at(client.Context{}, strings.Split(r.env.Getenv("GESTOR_URL"), ",")); err != nil {
			return "", "", c, err
		}
		return r.environment(c)
	}
	all, err := r.contexts()
	if err != nil {
		return "", "", c, err
	}
	if name == "" && all.Current == "" && len(r.asked) > 0 {
		return r.environment(client.Context{})
	}
	if name, c, err = all.Get(name); err != nil {
		return name, "", c, err
	}
	if r.contextName == "" {
		_, _, c, err = r.environment(c)
	}
	return name, name, c, err
}

// environment lets GESTOR_TOKEN and GESTOR_CA_FILE have their say.
func (r *run) environment(c client.Context) (name, stored string, known client.Context, err error) {
	if token := r.env.Getenv("GESTOR_TOKEN"); token != "" {
		c.Token = token
	}
	if path := r.env.Getenv("GESTOR_CA_FILE"); path != "" {
		roots, err := os.ReadFile(r.path(path))
		if err != nil {
			return "", "", c, fault.Invalid("GESTOR_CA_FILE", "%v", err)
		}
		c.Roots = string(roots)
	}
	return "environment", "", c, nil
}

// client returns the connection of this run.
func (r *run) client() (*client.Client, error) {
	if r.conn != nil {
		return r.conn, nil
	}
	name, stored, target, err := r.target()
	if err != nil {
		return nil, err
	}
	if len(r.asked) > 0 {
		stored = ""
		if target, err = at(target, r.asked); err != nil {
			return nil, err
		}
	}
	conn, err := r.dial(target)
	r.conn, r.name, r.stored, r.known = conn, name, stored, target
	return conn, err
}

func (r *run) dial(c client.Context) (*client.Client, error) {
	return client.New(client.Options{
		URL: c.URL, Servers: c.Servers, Token: c.Token, Roots: c.Roots, Cluster: c.Cluster, Version: r.env.Version,
		Consistency: r.consistency(), Moved: r.moved, Told: r.hear, Prove: r.proveAgain,
	})
}

// consistency is left to the servers' default unless it was asked for.
func (r *run) consistency() string {
	if r.read == rpc.ConsistencyLocal {
		return r.read
	}
	return ""
}
