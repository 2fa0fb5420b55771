package rootfs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/sys/userns"

	"github.com/minirun/minirun/internal/atomicfile"
)

// keychain returns the user's credentials: those of Docker's client, or else those of
// podman. If they cannot be read, it warns and returns none.
type keychain struct{ request }

func (k keychain) Resolve(target authn.Resource) (authn.Authenticator, error) {
	// Without Docker's file the library reads podman's, and takes an entry for any
	// repository of the registry.
	found, err := authn.Anonymous, error(nil)
	switch info, missing := os.Stat(dockersFile()); {
	case missing != nil:
	case !info.Mode().IsRegular(): // the library would wait for the writer of a FIFO
		err = &os.PathError{Op: "read", Path: dockersFile(), Err: atomicfile.ErrNotRegular}
	default:
		found, err = authn.DefaultKeychain.Resolve(target)
	}
	if err == nil && found == authn.Anonymous {
		found, err = podmansCredentials(target)
	}
	if err != nil {
		k.warn("credentials for %s cannot be read and are not used: %w", k.domain, err)
		return authn.Anonymous, nil
	}
	return found, nil
}

// dockersFile returns where Docker's client keeps its credentials.
func dockersFile() string {
	home, _ := os.UserHomeDir()
	return filepath.Join(cmp.Or(os.Getenv(config.EnvOverrideConfigDir), filepath.Join(home, ".docker")), config.ConfigFileName)
}

// podmansCredentials returns what `podman login` has stored for a repository
// (containers-auth.json(5)): the entry for the longest leading part of its name.
func podmansCredentials(target authn.Resource) (authn.Authenticator, error) {
	for _, file := range podmansFiles() {
		data, err := atomicfile.Read(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		stored, err := config.LoadFromReader(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		entry, known := types.AuthConfig{}, false
		for key := target.String(); key != "" && !known; key = parentName(key) {
			entry, known = stored.AuthConfigs[key]
		}
		if registry := target.RegistryStr(); !known && (stored.CredentialHelpers[registry] != "" || stored.CredentialsStore != "") {
			if entry, err = stored.GetAuthConfig(registry); err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
		}
		if entry.Username != "" || entry.IdentityToken != "" || entry.Auth != "" {
			return authn.FromConfig(authn.AuthConfig{
				Username: entry.Username, Password: entry.Password, Auth: entry.Auth, IdentityToken: entry.IdentityToken,
			}), nil
		}
	}
	return authn.Anonymous, nil
}

// podmansFiles returns the files in which podman looks for credentials, in its order: one
// that ends with the session, if the user has a directory for such files, and one that
// lasts.
func podmansFiles() []string {
	if file := os.Getenv("REGISTRY_AUTH_FILE"); file != "" {
		return []string{file}
	}
	var files []string
	switch runtime := os.Getenv("XDG_RUNTIME_DIR"); {
	case runtime != "":
		files = append(files, filepath.Join(runtime, "containers", "auth.json"))
	case os.Getuid() == 0 && !userns.RunningInUserNS():
		files = append(files, "/run/containers/0/auth.json")
	}
	if own, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(own, "containers", "auth.json"))
	}
	return files
}

// parentName returns a name without its last component, or "".
func parentName(name string) string {
	return name[:max(strings.LastIndexByte(name, '/'), 0)]
}
