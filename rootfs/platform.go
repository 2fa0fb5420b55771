package rootfs

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// parsePlatform parses OS[/ARCH[/VARIANT]] or ARCH, with Docker's alternative
// spellings of architectures. An empty text is this machine.
func parsePlatform(text string) (v1.Platform, error) {
	p := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	if text == "" {
		return p, nil
	}
	parts := strings.Split(strings.ToLower(text), "/")
	if len(parts) > 3 || slices.Contains(parts, "") {
		return p, &Error{Op: "--platform " + text, Err: errors.New("not OS/ARCHITECTURE[/VARIANT]"), Cause: CausePlatform}
	}
	if a := normal(v1.Platform{Architecture: parts[0]}); len(parts) == 1 && isKnown(a.Architecture) {
		parts = []string{"linux", parts[0]}
	}
	p.OS = parts[0]
	if len(parts) > 1 {
		p.Architecture = parts[1]
	}
	if len(parts) > 2 {
		p.Variant = parts[2]
	}
	p = normal(p)
	switch {
	case p.OS != "linux" && len(parts) == 1:
		return p, &Error{Op: "--platform " + text, Err: errors.New("unknown operating system or architecture"), Cause: CausePlatform}
	case p.OS != "linux":
		return p, &Error{Op: "--platform " + text, Err: errors.New("minirun runs Linux containers")}
	case !isKnown(p.Architecture):
		return p, &Error{Op: "--platform " + text, Err: fmt.Errorf("unknown architecture %q", p.Architecture), Cause: CausePlatform}
	}
	return p, nil
}

// isKnown reports whether Go, and so minirun, knows the architecture on Linux.
func isKnown(architecture string) bool {
	switch architecture {
	case "386", "amd64", "arm", "arm64", "loong64", "mips", "mipsle", "mips64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x":
		return true
	}
	return false
}

// normal returns a platform as image-spec spells it (image-index.md). The lowest
// variant of an architecture, v1 of amd64 and v8 of arm64, is "".
func normal(p v1.Platform) v1.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	case "i386", "i486", "i586", "i686":
		p.Architecture = "386"
	}
	if p.Variant != "" && strings.Trim(p.Variant, "0123456789") == "" {
		p.Variant = "v" + p.Variant
	}
	switch p.Architecture + "/" + p.Variant {
	case "amd64/v1", "arm64/v8":
		p.Variant = ""
	case "arm/":
		p.Variant = "v7"
	}
	return p
}

// fitOf returns how well an image for p runs where want is asked for; 0 is not at all. An
// image without a platform fits, and so does one for a lower variant of the same
// architecture: every arm/v7 runs arm/v6.
func fitOf(p *v1.Platform, want v1.Platform) int {
	const exact = 1000
	if p == nil || p.OS == "" && p.Architecture == "" {
		return 1
	}
	have, want := normal(*p), normal(want)
	if have.OS != want.OS || have.Architecture != want.Architecture {
		return 0
	}
	if have.Variant == want.Variant {
		return exact
	}
	level, wanted := variantLevel(have.Variant), variantLevel(want.Variant)
	switch {
	case have.Variant == "" || level > 0 && wanted > 0 && level <= wanted:
		return 1 + level
	case want.Variant == "": // any will do
		return 1
	}
	return 0
}

// variantLevel returns 7 for v7, and 0 for a variant that is not a number.
func variantLevel(variant string) int {
	level, _ := strconv.Atoi(strings.TrimPrefix(variant, "v"))
	return level
}

// checkPlatform returns an error if an image is not for the platform asked for, or not
// for Linux.
func (r request) checkPlatform(have v1.Platform) error {
	if have.OS != "" && have.OS != "linux" {
		return fmt.Errorf("the image is for %s, and minirun runs Linux containers", quote(have.OS))
	}
	if r.asked && fitOf(&have, r.want) == 0 {
		return otherPlatform([]string{have.String()}, r.want)
	}
	return nil
}

// platform returns the platform in the content's configuration.
func (c *content) platform() (v1.Platform, error) {
	config := &c.base
	if c.config != nil {
		var err error
		if config, err = parseConfig(c.config); err != nil {
			return v1.Platform{}, err
		}
	}
	return config.platform(), nil
}

func otherPlatform(have []string, want v1.Platform) error {
	if len(have) == 0 {
		return errors.New("it has no image for any platform")
	}
	slices.Sort(have)
	return fmt.Errorf("the image exists for %s, not for %s", strings.Join(slices.Compact(have), ", "), want)
}
