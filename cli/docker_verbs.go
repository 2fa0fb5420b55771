package cli

import (
	"fmt"

	ucli "github.com/urfave/cli/v2"

	"github.com/minirun/minirun/internal/spelling"
)

// notAnImage returns an error for a first word that is probably not meant as an image: a verb
// of docker, or a misspelt one of minirun. Otherwise an image of that name would be pulled
// from a registry, and run as root.
func notAnImage(app *ucli.App, word string) error {
	run := "'minirun run " + word + "' runs an image of that name"
	if instead := dockerVerb(word); instead != "" {
		return &usageError{"minirun has no verb " + word, instead + "  (" + run + ")"}
	}
	if word == "docker" || word == "crate" { // well-known images whose names resemble doctor and create
		return nil
	}
	var verbs []string
	for _, c := range app.Commands {
		if !c.Hidden {
			verbs = append(verbs, c.Name)
		}
	}
	if near := spelling.Nearest(word, verbs); near != "" {
		return &usageError{"minirun has no verb " + word, fmt.Sprintf("did you mean %s?  (%s)", near, run)}
	}
	return nil
}

// dockerVerb returns the hint for a command of docker 28.2 that minirun does not have, or "".
// `node` is not listed, since more people run the image node than manage a swarm. A test
// compares the verbs with `docker --help`.
func dockerVerb(word string) string {
	switch word {
	case "container":
		return "'minirun container ls', stop, rm and others are the verbs ps, stop, rm, ..."
	case "volume":
		return "share files with a container: -v HOST:CONTAINER"
	case "commit", "export":
		return "'minirun cp' copies files out of a container; -v HOST:CONTAINER keeps what it writes"
	case "network":
		return "networks are made for containers: --network bridge, none, host or container:NAME"
	case "build", "builder", "buildx", "compose", "bake":
		return "'minirun bootstrap' builds a Debian image; pull images that another tool has built"
	case "image":
		return "'minirun image ls', rm, inspect and others are the verbs images, rmi, inspect, ..."
	case "manifest", "trust":
		return "'minirun inspect' describes an image of the store"
	case "search", "login", "logout":
		return "minirun reads the credentials that 'docker login' or 'podman login' has stored"
	case "info", "system", "events":
		return "there is no daemon; 'minirun doctor' checks this machine, 'minirun du' and 'minirun prune' are for the store"
	case "context", "plugin", "checkpoint", "swarm", "service", "stack", "secret", "config":
		return "there is no daemon, so there are none of these"
	}
	return ""
}

// ungrouped replaces the two words of docker's grouped commands, such as `image ls`, with the
// verb.
func ungrouped(words []string) []string {
	if len(words) < 2 {
		return words
	}
	verb := ""
	switch words[0] + " " + words[1] {
	case "image ls", "image list":
		verb = "images"
	case "image rm", "image remove":
		verb = "rmi"
	case "system df":
		verb = "du"
	case "container ls", "container list", "container ps":
		verb = "ps"
	case "container remove":
		verb = "rm"
	case "image inspect", "container inspect":
		return append([]string{"inspect", "--type=" + words[0]}, words[2:]...)
	case "image history", "image import", "image load", "image prune", "image pull", "image push", "image save", "image tag",
		"container attach", "container cp", "container create", "container diff", "container exec", "container kill", "container logs", "container pause", "container port",
		"container rename", "container restart", "container rm", "container start", "container stats", "container stop", "container top", "container unpause", "container update", "container wait":
		verb = words[1]
	default:
		return words
	}
	return append([]string{verb}, words[2:]...)
}

// groupVerbs returns the second words that ungrouped knows after a first one, for completion.
func groupVerbs(group string) []string {
	switch group {
	case "image":
		return []string{"history", "import", "inspect", "load", "ls", "prune", "pull", "push", "rm", "save", "tag"}
	case "container":
		return []string{"attach", "cp", "create", "diff", "exec", "inspect", "kill", "logs", "ls", "pause", "port", "rename", "restart", "rm", "start", "stats", "stop", "top", "unpause", "update", "wait"}
	case "system":
		return []string{"df"}
	}
	return nil
}
