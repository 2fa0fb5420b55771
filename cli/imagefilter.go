package cli

import (
	"slices"
	"strings"

	"github.com/minirun/minirun/rootfs"
)

// imageFilter reports whether `images --filter` lists an image.
type imageFilter func(rootfs.ImageInfo) bool

// filterImages returns the images that match all filters, which are those of `docker images`;
// of several references one has to match. An image named by before or since must be in the
// store.
func filterImages(images []rootfs.ImageInfo, filters []string, find func(name string) (*rootfs.Description, error)) ([]rootfs.ImageInfo, error) {
	var all []imageFilter
	var references []imageFilter
	for _, text := range filters {
		key, value, _ := strings.Cut(text, "=")
		if value == "" {
			return nil, &usageError{"--filter " + text + ": no value", "write for example reference=debian or dangling=true"}
		}
		var filter imageFilter
		var err error
		switch key {
		case "dangling":
			filter, err = danglingFilter(text, value)
		case "label":
			filter = func(image rootfs.ImageInfo) bool { return hasLabel(image.Labels, value) }
		case "before", "since":
			filter, err = orderFilter(images, key, value, find)
		case "reference":
			filter, err = referenceFilter(value)
			references = append(references, filter)
			filter = nil
		default:
			err = &usageError{"--filter " + text + ": unknown filter", "use dangling=true, before=IMAGE, since=IMAGE, label=KEY[=VALUE] or reference=PATTERN"}
		}
		if err != nil {
			return nil, err
		}
		if filter != nil {
			all = append(all, filter)
		}
	}
	if references != nil {
		all = append(all, func(image rootfs.ImageInfo) bool {
			return slices.ContainsFunc(references, func(f imageFilter) bool { return f(image) })
		})
	}
	return slices.DeleteFunc(images, func(image rootfs.ImageInfo) bool {
		return slices.ContainsFunc(all, func(f imageFilter) bool { return !f(image) })
	}), nil
}

// danglingFilter matches images without a name, or those with one.
func danglingFilter(text, value string) (imageFilter, error) {
	switch value {
	case "true", "1", "false", "0":
	default:
		return nil, &usageError{"--filter " + text + ": neither true nor false", "dangling=true lists images without a name"}
	}
	want := value == "true" || value == "1"
	return func(image rootfs.ImageInfo) bool { return isNameless(image.Name) == want }, nil
}

func hasLabel(labels map[string]string, filter string) bool {
	key, want, exact := strings.Cut(filter, "=")
	value, ok := labels[key]
	return ok && (!exact || value == want)
}

// orderFilter matches images that were made before or after another one.
func orderFilter(images []rootfs.ImageInfo, key, name string, find func(string) (*rootfs.Description, error)) (imageFilter, error) {
	found, err := find(name)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(images, func(image rootfs.ImageInfo) bool { return image.ID == found.ID })
	if i < 0 { // it has just been removed
		return func(rootfs.ImageInfo) bool { return false }, nil
	}
	moment := images[i].Created
	if key == "before" {
		return func(image rootfs.ImageInfo) bool { return image.Created.Before(moment) }, nil
	}
	return func(image rootfs.ImageInfo) bool { return image.Created.After(moment) }, nil
}

// isNameless reports whether an image's name is its ID.
func isNameless(name string) bool { return strings.HasPrefix(name, "sha256:") }
