package rootfs

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	answers "github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// manifestError says why there is no manifest. Only a registry that says that it
// has none makes it ErrNotFound.
func (s *Store) manifestError(r request, err error) error {
	var answer *answers.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return s.notFound(r, &answerError{answer})
	case isNotJSON(err):
		return &Error{
			Op: "pull " + r.short(), Err: fmt.Errorf("what answers for %s is no registry: %w", r.domain, err),
			Help: "check the name; a proxy, or a network that wants a login first, may have answered in its place",
		}
	}
	return s.pullError(r, err)
}

// pullError says what kept an image from being pulled, and what to do about it.
func (s *Store) pullError(r request, err error) error {
	var answer *answers.Error
	var told *Error
	fail := func(err error, help string) error {
		return &Error{Op: "pull " + r.short(), Err: err, Help: help}
	}
	switch {
	case errors.As(err, &told), errors.Is(err, context.Canceled):
		return fail(err, hintOf(err))
	case isUnreachable(err):
		return fail(fmt.Errorf("%s cannot be reached: %w", r.domain, err),
			cmp.Or(s.elsewhere(r.reference), "check the name and the network; dir:PATH, a tarball's path and host: need none"))
	case !errors.As(err, &answer):
		return fail(err, "")
	}
	err = &answerError{answer}
	login := "'docker login " + r.domain + "'"
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fail(fmt.Errorf("%s refuses: it has no such repository, or one that needs credentials: %w", r.domain, err),
			"check the name; for a private image give credentials with "+login)
	case code == http.StatusTooManyRequests:
		return fail(fmt.Errorf("%s lets nothing more be pulled for now: %w", r.domain, err), "try again later, or with the credentials that "+login+" keeps")
	case code >= http.StatusInternalServerError:
		return fail(fmt.Errorf("%s is out of order: %w", r.domain, err), "try again later")
	}
	return fail(fmt.Errorf("%s answers: %w", r.domain, err), "")
}

// answerError is a registry's answer in few words. The library's own text has
// the whole body in it, up to 64 KiB.
type answerError struct{ answer *answers.Error }

const maxAnswer = 300 // bytes of a registry's own words

func (e *answerError) Error() string {
	text := fmt.Sprintf("%d %s", e.answer.StatusCode, http.StatusText(e.answer.StatusCode))
	var said []string
	for _, d := range e.answer.Errors {
		words := strings.TrimSuffix(string(d.Code)+": "+d.Message, ": ")
		if words != "" {
			said = append(said, words)
		}
	}
	if len(said) > 0 {
		text += ": " + cut(strings.Join(said, "; "), maxAnswer)
	}
	return text
}

func (e *answerError) Unwrap() error { return e.answer }

// isUnreachable reports whether no answer came at all.
func isUnreachable(err error) bool {
	var network net.Error // of the net and net/url packages, with DNS and time-outs
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &network) || errors.As(err, &certificate) || errors.As(err, &record)
}

// notJSONError is an answer that should have been a manifest.
type notJSONError struct{ mediaType string }

func (e *notJSONError) Error() string {
	return "it is of the type " + quote(e.mediaType) + " and not JSON"
}

// isNotJSON reports whether JSON was expected and something else came, be it for
// a manifest or for a token.
func isNotJSON(err error) bool {
	var manifest *notJSONError
	var syntax *json.SyntaxError
	return errors.As(err, &manifest) || errors.As(err, &syntax)
}

// keychain has the user's credentials. Where they cannot be read a registry is
// asked without them, with a warning.
type keychain struct{ request }

func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	found, err := authn.DefaultKeychain.Resolve(target)
	if err != nil {
		k.warn("credentials for %s cannot be read, so it is asked without: %w", k.domain, err)
		return authn.Anonymous, nil
	}
	return found, nil
}
