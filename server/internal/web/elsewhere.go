package web

import (
	"net/http"

	"github.com/saas-gestor/gestor/server/internal/oidc"
)

// elsewhere sends a reader to where their company signs people in. It is a page that goes on by itself and no redirect: the
// content security policy keeps forms from ending up anywhere else.
func (w *Web) elsewhere(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "sign_in")
	p.CompanyEmail = r.FormValue("email")
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		w.show(out, "signin", p, nil) // another page wants this; only the reader may
		return
	}
	start, err := w.options.Providers.Begin(r, p.CompanyEmail, p.Next)
	if err != nil {
		w.show(out, "signin", p, err)
		return
	}
	http.SetCookie(out, start.Cookie)
	out.Header().Set("Refresh", "0;url="+start.URL)
	p.Title, p.Data = p.T["elsewhere"], start
	w.show(out, "elsewhere", p, nil)
}

// back takes a reader who comes back from there.
func (w *Web) back(out http.ResponseWriter, r *http.Request) {
	http.SetCookie(out, oidc.NoCookie()) // whatever comes of it, it counts once
	p := w.page(r, "sign_in")
	res, err := w.options.Providers.Complete(r)
	p.CompanyEmail = res.Email
	if res.Next != "" {
		p.Next = res.Next
	}
	switch {
	case err != nil:
		w.show(out, "signin", p, err)
	case res.Answer.GetSecondFactor() != nil:
		w.askFactor(out, p, res.Answer.GetSecondFactor(), nil)
	default:
		SignedIn(out, r, res.Answer.GetToken(), p.Next)
	}
}
