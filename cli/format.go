package cli

import (
	"encoding/json"
	"io"

	ucli "github.com/urfave/cli/v2"
)

// formatFlag is --format of a verb that lists something.
func formatFlag() ucli.Flag {
	return choice("", "format", "text", "print `FORMAT`: text or json").with(oneOf("text", "json"))
}

func wantsJSON(c *ucli.Context) (bool, error) {
	switch format := c.String("format"); format {
	case "text":
		return false, nil
	case "json":
		return true, nil
	default:
		return false, &usageError{"--format " + format + ": unknown format", "use text or json"}
	}
}

// writeJSON writes v as indented JSON.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
