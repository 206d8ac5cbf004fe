package web

import (
	"encoding/json"
	"net/http"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// linkForm shows the form of a link that came by mail. The link's secret stands behind #, which browsers do not send, so
// that no log has it; the page's script puts it into the form.
func (w *Web) linkForm(name string) http.HandlerFunc {
	return func(out http.ResponseWriter, r *http.Request) { w.show(out, name, w.page(r, name), nil) }
}

// linkAgain shows the form once more, with what went wrong.
func (w *Web) linkAgain(out http.ResponseWriter, r *http.Request, name string, err error) {
	p := w.page(r, name)
	p.Secret = r.PostFormValue("secret")
	w.show(out, name, p, err)
}

func (w *Web) acceptInvitation(out http.ResponseWriter, r *http.Request) {
	if err := sameTwice(r); err != nil {
		w.linkAgain(out, r, "invite", err)
		return
	}
	res, err := w.api.invitations.AcceptInvitation(in(r.Context(), r), &gestorv1.AcceptInvitationRequest{
		Secret: r.PostFormValue("secret"), Password: r.PostFormValue("password"), Name: r.PostFormValue("name"),
	})
	if err != nil {
		w.linkAgain(out, r, "invite", err)
		return
	}
	p := w.page(r, "sign_in")
	p.Email, p.Data = res.GetEmail(), p.T["invited_text"]
	w.show(out, "signin", p, nil)
}

func (w *Web) resetPassword(out http.ResponseWriter, r *http.Request) {
	if err := sameTwice(r); err != nil {
		w.linkAgain(out, r, "reset", err)
		return
	}
	res, err := w.api.accounts.ConfirmPasswordReset(in(r.Context(), r), &gestorv1.ConfirmPasswordResetRequest{
		Secret: r.PostFormValue("secret"), Password: r.PostFormValue("password"),
	})
	if err != nil {
		w.linkAgain(out, r, "reset", err)
		return
	}
	p := w.page(r, "sign_in")
	p.Email, p.Data = res.GetEmail(), p.T["reset_text"]
	w.show(out, "signin", p, nil)
}

func (w *Web) confirmEmail(out http.ResponseWriter, r *http.Request) {
	res, err := w.api.accounts.ConfirmEmail(in(r.Context(), r), &gestorv1.ConfirmEmailRequest{Secret: r.PostFormValue("secret")})
	if err != nil {
		w.linkAgain(out, r, "confirm", err)
		return
	}
	p := w.page(r, "confirm")
	p.Data = p.T["confirmed_text"] + " " + res.GetEmail()
	w.show(out, "message", p, nil)
}

func (w *Web) forgottenForm(out http.ResponseWriter, r *http.Request) {
	w.show(out, "forgotten", w.page(r, "forgotten"), nil)
}

// forgotten asks for a link to set a new password. The answer is the same for everybody.
func (w *Web) forgotten(out http.ResponseWriter, r *http.Request) {
	p := w.page(r, "forgotten")
	p.Email = r.PostFormValue("email")
	_, err := w.api.accounts.RequestPasswordReset(in(r.Context(), r), &gestorv1.RequestPasswordResetRequest{Email: p.Email})
	if err != nil {
		w.show(out, "forgotten", p, err)
		return
	}
	p.Data = p.T["forgotten_text"]
	w.show(out, "message", p, nil)
}

func sameTwice(r *http.Request) error {
	if r.PostFormValue("password") != r.PostFormValue("repeat") {
		return fault.Invalid("repeat", "the two passwords are not the same")
	}
	return nil
}

// addPasskey makes a passkey in two steps, both asked by the page's script: without a credential it returns what the
// browser needs, with one it stores it.
func (w *Web) addPasskey(out http.ResponseWriter, r *http.Request) {
	var answer any
	var err error
	if r.PostFormValue("credential") == "" {
		var res *gestorv1.BeginPasskeyResponse
		res, err = w.api.factors.BeginPasskey(in(r.Context(), r), &gestorv1.BeginPasskeyRequest{})
		answer = map[string]string{"pending": res.GetPending(), "options": res.GetOptions()}
	} else {
		var res *gestorv1.ConfirmPasskeyResponse
		res, err = w.api.factors.ConfirmPasskey(in(r.Context(), r), &gestorv1.ConfirmPasskeyRequest{
			Pending: r.PostFormValue("pending"), Credential: r.PostFormValue("credential"), Name: r.PostFormValue("name"),
		})
		answer = map[string]any{"done": true, "codes": res.GetRecoveryCodes()}
	}
	out.Header().Set("Content-Type", "application/json")
	if err != nil {
		_, words := wordsOf(r)
		text, fix := inWords(err, words, "account")
		out.WriteHeader(statusOf(err))
		answer = map[string]string{"error": text, "fix": fix, "reason": string(fault.ReasonOf(err))}
	}
	_ = json.NewEncoder(out).Encode(answer) //nolint:errchkjson // text and claims; the reader is gone if this fails
}
