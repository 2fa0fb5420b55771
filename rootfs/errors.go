package rootfs

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrNotFound reports an image that is neither in the store nor where it was looked
// for.
var ErrNotFound = errors.New("no such image")

// ErrInUse reports an image that cannot be removed because a container runs on it, or one
// that has ended stays.
var ErrInUse = errors.New("image is being used by a container")

// ErrDamaged reports parts of an image that the store has lost or that have changed.
var ErrDamaged = errors.New("the store is damaged")

// Error is an error of this package that the user can do something about.
type Error struct {
	Op       string // what failed, for example "pull docker.io/library/debian:latest"
	Err      error
	Cause    Cause  // what went wrong, where a hint would have to name flags or verbs; or 0
	Name     string // the image that Cause is about, or the directory
	Platform string // with CauseOtherPlatform, the one that was asked for
}

// Cause is what went wrong with an image, for a program that adds a hint: it knows which of
// its flags and verbs help.
type Cause int

// The causes.
const (
	_                     Cause = iota
	CauseBootstrapRoot          // a bootstrap needs root
	CauseDamaged                // parts of the image are missing or have changed: fetch it again
	CauseDamagedHere            // the same, of an image that was loaded, imported or bootstrapped: make it again
	CauseDebian                 // the image does not exist yet: a bootstrap makes it
	CauseDistribution           // there is no bootstrap of the distribution
	CauseFileSystem             // overlayfs refused the file system of a directory
	CauseFull                   // the disk of the store is full
	CauseHostRoot               // the host's root cannot be a layer in a user namespace
	CauseIndex                  // the store's index, the file Name, is damaged
	CauseInPlace                // the image is used where it is; there is nothing to fetch
	CauseManyRepositories       // the image to be removed has names in several repositories
	CauseNoImage                // the store has no such image
	CauseNoLayers               // the directory is on a file system that takes no layers of a user's
	CauseNotFetched             // the image is not in the store, and no registry was asked for it
	CauseOnOverlay              // a directory is on an overlay, which cannot hold another
	CauseOtherPlatform          // the store has the image for other platforms only
	CausePlatform               // this is not the name of a platform
	CauseRootTarball            // the tarball has no image; it may be of a root file system
	CauseStore                  // the store's directory cannot be used
	CauseTooLarge               // the image is larger than Limits
	CauseUserIDs                // the user namespace has too few IDs
)

// maxMessage is the most bytes of an error's text. A file of an image may have a path
// of 4096 bytes, and the errors of libraries have it in full.
const maxMessage = 1000

// Error is one line of at most some 1000 bytes, whatever a registry answered or a
// tarball names its files. A longer text is cut in the middle.
func (e *Error) Error() string {
	text := e.Err.Error()
	if e.Op != "" {
		text = e.Op + ": " + text
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, cut(text, maxMessage)))
}

func (e *Error) Unwrap() error { return e.Err }

// maxQuoted is the most bytes that are quoted of a name.
const maxQuoted = 200

// quote returns text as a Go string, which keeps control characters of untrusted
// text out of messages. A longer text is cut in the middle.
func quote(text string) string { return fmt.Sprintf("%q", cut(text, maxQuoted)) }

// cut shortens text to about limit bytes. It takes out the middle: a path and an error say
// most at their ends.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	end := limit * 2 / 3
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	start := len(text) - limit/3
	for start < len(text) && !utf8.RuneStart(text[start]) {
		start++
	}
	return text[:end] + "..." + text[start:]
}
