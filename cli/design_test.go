package cli

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Only cli and oci know minirun's command line: the other packages have no text with one.
func TestCommandLinesAreCLI(t *testing.T) {
	spelled := regexp.MustCompile(`'minirun [a-z]`)
	for _, root := range []string{"launcher", "rootfs", "seccomp", "internal"} {
		err := filepath.WalkDir("../"+root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if found := spelled.Find(source); found != nil {
				t.Errorf("%s: %s...", path, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// docs/design.md names every directory with Go code, and no source file that does not
// exist.
func TestDesign(t *testing.T) {
	text, err := os.ReadFile("../docs/design.md")
	if err != nil {
		t.Fatal(err)
	}
	files, packages := map[string]bool{}, map[string]bool{}
	err = filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name == "build" || name == "testdata" || strings.HasPrefix(name, ".") && name != ".."):
			return filepath.SkipDir
		case strings.HasSuffix(name, ".go"), strings.HasSuffix(name, ".c"), strings.HasSuffix(name, ".h"):
			files[name] = true
			packages[filepath.Base(filepath.Dir(path))] = true
		}
		return nil
	})
	if err != nil || !files["design_test.go"] {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range regexp.MustCompile(`[a-z_]+\.(go|c|h)\b`).FindAllString(string(text), -1) {
		if !files[name] {
			t.Errorf("docs/design.md: there is no file %s", name)
		}
	}
	for name := range packages {
		if name != ".." && !strings.Contains(string(text), name+"/") && !strings.Contains(string(text), "/"+name) {
			t.Errorf("docs/design.md does not name the directory %s", name)
		}
	}
}
