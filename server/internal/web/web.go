// Package web serves the few pages that must be there without the dashboard: signing in, approving a terminal, accepting an
// invitation, setting a new password, confirming an address, and passkeys. Every page is a client of the API like any
// other, in this process: what the API refuses, a page cannot do either.
//
// Guarantees. A page works without a script but where a browser has no other way (passkeys, what stands behind # in a
// link). Every answer carries a content security policy that lets nothing in but this server's own files, and is kept by
// nobody. A form of another origin is refused before it gets here. The session's cookie is of this host alone, and no
// script reads it.
package web

import (
	"bytes"
	"embed"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/auth"
	"github.com/saas-gestor/gestor/server/internal/oidc"
)

//go:embed pages assets
var files embed.FS

// Options are what the pages are made of.
type Options struct {
	API       http.Handler // every service, as browsers reach it
	Providers Providers    // where else people may sign in; nil for nowhere
	Log       *slog.Logger // nil discards
}

// Providers sends people to where else they sign in, and takes them back, see package oidc.
type Providers interface {
	// Offered reports whether there is any, so that the page shows the way.
	Offered(r *http.Request) bool
	Begin(r *http.Request, email, next string) (oidc.Start, error)
	Complete(r *http.Request) (oidc.Result, error)
}

// Web is the pages. It is safe for concurrent use.
type Web struct {
	options Options
	api     api
	pages   map[string]*template.Template
	mux     *http.ServeMux
}

// New makes the pages.
func New(o Options) (*Web, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	pages, err := parse()
	if err != nil {
		return nil, err
	}
	w := &Web{options: o, api: newAPI(o.API), pages: pages, mux: http.NewServeMux()}
	w.routes()
	return w, nil
}

func (w *Web) routes() {
	w.mux.HandleFunc("GET /{$}", w.home)
	w.mux.HandleFunc("GET /signin", w.signInForm)
	w.mux.HandleFunc("POST /signin", w.signIn)
	w.mux.HandleFunc("POST /signin/factor", w.completeSignIn)
	w.mux.HandleFunc("POST /signout", w.signOut)
	w.mux.HandleFunc("GET /approve", w.approveForm)
	w.mux.HandleFunc("POST /approve", w.approve)
	w.mux.HandleFunc("GET /again", w.againForm)
	w.mux.HandleFunc("POST /again", w.again)
	w.mux.HandleFunc("GET /invite", w.linkForm("invite"))
	w.mux.HandleFunc("POST /invite", w.acceptInvitation)
	w.mux.HandleFunc("GET /reset", w.linkForm("reset"))
	w.mux.HandleFunc("POST /reset", w.resetPassword)
	w.mux.HandleFunc("GET /confirm", w.linkForm("confirm"))
	w.mux.HandleFunc("POST /confirm", w.confirmEmail)
	w.mux.HandleFunc("GET /forgotten", w.forgottenForm)
	w.mux.HandleFunc("POST /forgotten", w.forgotten)
	w.mux.HandleFunc("POST /passkeys", w.addPasskey)
	if w.options.Providers != nil {
		w.mux.HandleFunc("GET /oidc/start", w.elsewhere)
		w.mux.HandleFunc("GET /oidc/callback", w.back)
	}
	assets, err := fs.Sub(files, "assets")
	if err != nil {
		panic("the assets are not in the program: " + err.Error())
	}
	w.mux.Handle("GET /assets/", http.StripPrefix("/assets/", cached(http.FileServerFS(assets))))
}

// cached lets browsers keep what changes only with the program, for a while.
func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=300")
		next.ServeHTTP(w, r)
	})
}

// policy lets a page load this server's own files and send its forms here, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// mostForm bounds a form.
const mostForm = 64 << 10

// ServeHTTP implements http.Handler.
func (w *Web) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	out.Header().Set("Content-Security-Policy", policy)
	r.Body = http.MaxBytesReader(out, r.Body, mostForm)
	w.mux.ServeHTTP(out, r)
}

// parse reads the templates, each with the frame around it.
func parse() (map[string]*template.Template, error) {
	all := map[string]*template.Template{}
	names, err := fs.Glob(files, "pages/*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		key := strings.TrimSuffix(strings.TrimPrefix(name, "pages/"), ".html")
		if key == "frame" {
			continue
		}
		t, err := template.ParseFS(files, "pages/frame.html", name)
		if err != nil {
			return nil, err
		}
		all[key] = t
	}
	return all, nil
}

// page is what every template gets.
type page struct {
	T       texts  // words in the reader's language
	Lang    string // "pt-BR" or "en"
	Title   string
	Error   string // what went wrong, for people
	Fix     string
	Next    string // where to go on afterwards, a path of this server
	Email   string
	Secret  string
	Data    any
	Company bool // whether there are other places to sign in

	CompanyEmail string // with which one of them was tried
}

func (w *Web) page(r *http.Request, title string) page {
	lang, words := wordsOf(r)
	return page{T: words, Lang: lang, Title: words[title], Next: nextOf(r), Company: w.options.Providers != nil && w.options.Providers.Offered(r)}
}

// show renders a page. A refusal is shown on the page it belongs to.
func (w *Web) show(out http.ResponseWriter, name string, p page, refusal error) {
	status := http.StatusOK
	if refusal != nil {
		status = statusOf(refusal)
		p.Error, p.Fix = inWords(refusal, p.T, name)
	}
	var b bytes.Buffer
	if err := w.pages[name].ExecuteTemplate(&b, "frame.html", p); err != nil {
		w.options.Log.Error("page not rendered", "page", name, "err", err)
		http.Error(out, "internal error", http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Type", "text/html; charset=utf-8")
	out.WriteHeader(status)
	_, _ = out.Write(b.Bytes())
}

// nextOf is where a reader wanted to go, if that is a page of this server.
func nextOf(r *http.Request) string {
	next := r.FormValue("next")
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

// toSignIn sends a reader to sign in and back.
func toSignIn(out http.ResponseWriter, r *http.Request) {
	back := url.Values{"next": {r.URL.RequestURI()}}
	http.Redirect(out, r, "/signin?"+back.Encode(), http.StatusSeeOther)
}

// SignedIn gives a browser its session and sends it on.
func SignedIn(out http.ResponseWriter, r *http.Request, token, next string) {
	http.SetCookie(out, auth.Cookie(token))
	http.Redirect(out, r, next, http.StatusSeeOther)
}

func statusOf(err error) int {
	switch fault.KindOf(err) { //nolint:exhaustive // everything else is the reader's
	case fault.KindUnauthenticated:
		return http.StatusUnauthorized
	case fault.KindDenied:
		return http.StatusForbidden
	case fault.KindNotFound:
		return http.StatusNotFound
	case fault.KindExhausted:
		return http.StatusTooManyRequests
	case fault.KindUnavailable, fault.KindTimeout:
		return http.StatusServiceUnavailable
	case fault.KindInternal:
		return http.StatusInternalServerError
	}
	return http.StatusUnprocessableEntity
}
