package web

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/auth"
)

// home shows who is signed in, and what second factors they have.
func (w *Web) home(out http.ResponseWriter, r *http.Request) {
	session, err := w.api.sessions.GetSession(in(r.Context(), r), &gestorv1.GetSessionRequest{})
	if fault.KindOf(err) == fault.KindUnauthenticated {
		toSignIn(out, r)
		return
	}
	p := w.page(r, "account")
	if err == nil {
		var factors *gestorv1.ListFactorsResponse
		factors, err = w.api.factors.ListFactors(in(r.Context(), r), &gestorv1.ListFactorsRequest{})
		p.Data = account{Session: session.GetSession(), Missing: session.GetSecondFactorMissing(), Factors: factors}
	}
	w.show(out, "account", p, err)
}

type account struct {
	Session *gestorv1.Session
	Missing bool
	Factors *gestorv1.ListFactorsResponse
}

func (w *Web) signInForm(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "sign_in")
	setup, err := w.api.setup.GetSetup(in(r.Context(), r), &gestorv1.GetSetupRequest{})
	if err == nil && !setup.GetClaimed() {
		w.show(out, "unclaimed", p, nil)
		return
	}
	w.show(out, "signin", p, err)
}

// signIn checks the password, and asks for a second factor where the user has one.
func (w *Web) signIn(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "sign_in")
	p.Email = r.PostFormValue("email")
	res, err := w.api.sessions.CreateSession(in(r.Context(), r), &gestorv1.CreateSessionRequest{Email: p.Email, Password: r.PostFormValue("password")})
	switch {
	case err != nil:
		w.show(out, "signin", p, err)
	case res.GetSecondFactor() != nil:
		w.askFactor(out, p, res.GetSecondFactor(), nil)
	default:
		SignedIn(out, r, res.GetToken(), p.Next)
	}
}

// factor is what the page of the second step is made of.
type factor struct {
	Pending         string
	TOTP, Recovery  bool
	PasskeyOptions  string
	Action          string // where the proof goes
	Password        bool   // whether the password is asked for as well
	Request         string // of a terminal, to come back to
	PasskeyRequired bool
}

func (w *Web) askFactor(out http.ResponseWriter, p page, asked *gestorv1.SecondFactor, refusal error) {
	f := factor{Pending: asked.GetPending(), PasskeyOptions: asked.GetPasskeyOptions(), Action: "/signin/factor"}
	for _, m := range asked.GetMethods() {
		f.TOTP = f.TOTP || m == gestorv1.FactorKind_FACTOR_KIND_TOTP
		f.Recovery = f.Recovery || m == gestorv1.FactorKind_FACTOR_KIND_RECOVERY_CODE
	}
	p.Title, p.Data = p.T["second_factor"], f
	w.show(out, "factor", p, refusal)
}

// completeSignIn takes the second factor, or a passkey that is both.
func (w *Web) completeSignIn(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "second_factor")
	req := &gestorv1.CompleteSessionRequest{Pending: r.PostFormValue("pending")}
	switch {
	case r.PostFormValue("assertion") != "":
		req.Proof = &gestorv1.CompleteSessionRequest_PasskeyAssertion{PasskeyAssertion: r.PostFormValue("assertion")}
	case r.PostFormValue("recovery") != "":
		req.Proof = &gestorv1.CompleteSessionRequest_RecoveryCode{RecoveryCode: strings.TrimSpace(r.PostFormValue("recovery"))}
	default:
		req.Proof = &gestorv1.CompleteSessionRequest_TotpCode{TotpCode: strings.ReplaceAll(r.PostFormValue("code"), " ", "")}
	}
	res, err := w.api.sessions.CompleteSession(in(r.Context(), r), req)
	if err != nil {
		f := factor{Pending: req.GetPending(), TOTP: r.PostFormValue("totp") != "", Recovery: r.PostFormValue("may_recover") != "", Action: "/signin/factor"}
		if !f.TOTP && !f.Recovery {
			w.show(out, "signin", w.page(r, "sign_in"), err)
			return
		}
		p.Data = f
		w.show(out, "factor", p, err)
		return
	}
	SignedIn(out, r, res.GetToken(), p.Next)
}

// signOut ends the session at the server, and in the browser whatever the server says.
func (w *Web) signOut(out http.ResponseWriter, r *http.Request) {
	_, err := w.api.sessions.DeleteSession(in(r.Context(), r), &gestorv1.DeleteSessionRequest{})
	if err != nil && fault.KindOf(err) != fault.KindUnauthenticated {
		w.options.Log.Warn("session not ended", "err", err)
	}
	http.SetCookie(out, auth.NoCookie())
	http.Redirect(out, r, "/signin", http.StatusSeeOther)
}

// approveForm shows who asks to be signed in.
func (w *Web) approveForm(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "approve")
	asked, err := w.api.logins.GetLogin(in(r.Context(), r), &gestorv1.GetLoginRequest{Request: r.FormValue("request")})
	if fault.KindOf(err) == fault.KindUnauthenticated {
		toSignIn(out, r)
		return
	}
	if err != nil {
		w.show(out, "message", p, err)
		return
	}
	session, err := w.api.sessions.GetSession(in(r.Context(), r), &gestorv1.GetSessionRequest{})
	p.Data = approval{Login: asked, Request: r.FormValue("request"), Session: session.GetSession()}
	w.show(out, "approve", p, err)
}

type approval struct {
	Login   *gestorv1.GetLoginResponse
	Request string
	Session *gestorv1.Session
}

// approve signs the terminal in, once the reader has proven who they are a moment ago.
func (w *Web) approve(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "approve")
	request := r.PostFormValue("request")
	_, err := w.api.logins.ApproveLogin(in(r.Context(), r), &gestorv1.ApproveLoginRequest{Request: request})
	switch {
	case fault.KindOf(err) == fault.KindUnauthenticated:
		toSignIn(out, r)
	case isReason(err, fault.ReasonStepUp):
		back := url.Values{"next": {"/approve?" + url.Values{"request": {request}}.Encode()}}
		http.Redirect(out, r, "/again?"+back.Encode(), http.StatusSeeOther)
	case err != nil:
		w.show(out, "message", p, err)
	default:
		p.Title, p.Data = p.T["approved"], p.T["approved_text"]
		w.show(out, "message", p, nil)
	}
}

// againForm asks a signed-in reader to prove again who they are.
func (w *Web) againForm(out http.ResponseWriter, r *http.Request) {
	w.askAgain(out, r, nil)
}

func (w *Web) askAgain(out http.ResponseWriter, r *http.Request, refusal error) {
	p := w.page(r, "again")
	res, err := w.api.sessions.BeginReauthentication(in(r.Context(), r), &gestorv1.BeginReauthenticationRequest{})
	if fault.KindOf(err) == fault.KindUnauthenticated {
		toSignIn(out, r)
		return
	}
	f := factor{Pending: res.GetPending(), PasskeyOptions: res.GetPasskeyOptions(), Password: res.GetPassword(), Action: "/again"}
	for _, m := range res.GetMethods() {
		f.TOTP = f.TOTP || m == gestorv1.FactorKind_FACTOR_KIND_TOTP
		f.Recovery = f.Recovery || m == gestorv1.FactorKind_FACTOR_KIND_RECOVERY_CODE
	}
	p.Data = f
	if refusal == nil {
		refusal = err
	}
	w.show(out, "factor", p, refusal)
}

func (w *Web) again(out http.ResponseWriter, r *http.Request) {
	req := &gestorv1.ReauthenticateSessionRequest{Password: r.PostFormValue("password"), Pending: r.PostFormValue("pending")}
	switch {
	case r.PostFormValue("assertion") != "":
		req.Proof = &gestorv1.ReauthenticateSessionRequest_PasskeyAssertion{PasskeyAssertion: r.PostFormValue("assertion")}
	case r.PostFormValue("recovery") != "":
		req.Proof = &gestorv1.ReauthenticateSessionRequest_RecoveryCode{RecoveryCode: strings.TrimSpace(r.PostFormValue("recovery"))}
	case r.PostFormValue("code") != "":
		req.Proof = &gestorv1.ReauthenticateSessionRequest_TotpCode{TotpCode: strings.ReplaceAll(r.PostFormValue("code"), " ", "")}
	}
	if _, err := w.api.sessions.ReauthenticateSession(in(r.Context(), r), req); err != nil {
		w.askAgain(out, r, err)
		return
	}
	http.Redirect(out, r, nextOf(r), http.StatusSeeOther) //nolint:gosec // a path of this server, or none
}
