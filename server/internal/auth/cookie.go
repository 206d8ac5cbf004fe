package auth

import "net/http"

// CookieName is the cookie with a browser's session. The prefix has browsers take it from this host alone, over TLS alone,
// for all of it.
const CookieName = "__Host-gestor"

// Cookie gives a browser its session. It ends with the session at the server, and by itself after as long as one lasts.
func Cookie(token string) *http.Cookie {
	return &http.Cookie{
		Name: CookieName, Value: token, Path: "/", MaxAge: 7 * 24 * 60 * 60, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

// NoCookie has a browser forget its session.
func NoCookie() *http.Cookie {
	c := Cookie("") //nolint:gosec // has all its attributes from there
	c.MaxAge = -1
	return c
}

// CookieOf takes a browser's session out of the headers of a request; false if there is none, or more than one.
func CookieOf(h http.Header) (token string, ok bool) {
	all := (&http.Request{Header: h}).CookiesNamed(CookieName)
	if len(all) != 1 {
		return "", false
	}
	return all[0].Value, true
}

// SameOrigin reports whether a browser says that a request comes from a page of this server. Others have no such header, so a
// cookie counts only with it.
func SameOrigin(h http.Header) bool { return h.Get("Sec-Fetch-Site") == "same-origin" }
