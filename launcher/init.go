// Package launcher runs a container: options to OCI runtime spec to libcontainer.
package launcher

// IsInit reports whether this process was started to become a container's init.
func IsInit(args []string) bool { return false }

// Init becomes the container's init. It does not return.
func Init() {}
