package rootfs

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	answers "github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/minirun/minirun/internal/hint"
)

// manifestError returns the error for a manifest that cannot be read. It is
// [ErrNotFound] only if the registry says that it has no such manifest.
func (s *Store) manifestError(r request, err error) error {
	var answer *answers.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return s.notFound(r, &answerError{answer})
	case isNotJSON(err):
		return hint.With(&Error{Op: "pull " + r.short(), Err: fmt.Errorf("%s is not a registry: %w", r.domain, err)},
			"check the name; a proxy or the login page of a network may have answered instead")
	}
	return s.pullError(r, err)
}

// pullError returns the error for a failed pull, with a hint where there is one.
func (s *Store) pullError(r request, err error) error {
	var answer *answers.Error
	var known *Error
	fail := func(err error, help string) error {
		return hint.With(&Error{Op: "pull " + r.short(), Err: err}, help)
	}
	switch {
	case errors.As(err, &known), errors.Is(err, context.Canceled):
		return fail(err, "")
	case isUnreachable(err):
		return s.orElsewhere(r.reference, &Error{Op: "pull " + r.short(), Err: fmt.Errorf("%s cannot be reached: %w", r.domain, err)},
			"check the name and the network; dir:PATH, a tarball's path and host: need none")
	case !errors.As(err, &answer):
		return fail(err, "")
	}
	err = &answerError{answer}
	login := "'docker login " + r.domain + "'"
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fail(fmt.Errorf("%s denies access: the repository does not exist or needs credentials: %w", r.domain, err),
			"check the name; for a private image, run "+login+" first")
	case code == http.StatusTooManyRequests:
		return fail(fmt.Errorf("%s limits the rate of pulls: %w", r.domain, err), "try again later, or run "+login)
	case code >= http.StatusInternalServerError:
		return fail(fmt.Errorf("%s is unavailable: %w", r.domain, err), "try again later")
	}
	return fail(fmt.Errorf("%s answers: %w", r.domain, err), "")
}

// answerError is the error of a registry, shortened. The library's own text has the
// whole body in it, up to 64 KiB.
type answerError struct{ answer *answers.Error }

const maxAnswer = 300 // bytes of a registry's own text

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

// isUnreachable reports whether the registry could not be reached at all.
func isUnreachable(err error) bool {
	var request *url.Error // of net/http, with DNS and time-outs
	var connection *net.OpError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &request) || errors.As(err, &connection) || errors.As(err, &certificate) || errors.As(err, &record)
}

// notJSONError is an answer that should have been a manifest.
type notJSONError struct{ mediaType string }

func (e *notJSONError) Error() string {
	return "it answers with " + quote(e.mediaType) + ", not with JSON"
}

// isNotJSON reports whether JSON was expected, for a manifest or a token, and the
// answer was something else.
func isNotJSON(err error) bool {
	var manifest *notJSONError
	var syntax *json.SyntaxError
	return errors.As(err, &manifest) || errors.As(err, &syntax)
}
