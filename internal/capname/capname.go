// Package capname names capabilities as capabilities(7) does.
package capname

import (
	"strings"
	"sync"

	"github.com/moby/sys/capability"
)

const prefix = "CAP_"

// Of returns the name of a capability, such as CAP_NET_RAW.
func Of(c capability.Cap) string { return prefix + strings.ToUpper(c.String()) }

// All returns the names of the capabilities that this version knows, each at the index
// that is its number. The caller must not change the list.
var All = sync.OnceValue(func() []string {
	known := capability.ListKnown()
	names := make([]string, len(known))
	for i, c := range known {
		names[i] = Of(c)
	}
	return names
})

// Full returns the full name of a capability that a user has typed, in any case and with or
// without the prefix, as `docker run --cap-add` takes it. It does not check that the
// capability exists.
func Full(typed string) string {
	name := strings.ToUpper(typed)
	if !strings.HasPrefix(name, prefix) {
		name = prefix + name
	}
	return name
}
