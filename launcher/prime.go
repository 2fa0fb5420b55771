package launcher

// Prime finds out in the background, while profile and image are being read, where cgroups
// are mounted, which a start needs to know. It changes nothing.
func Prime() {
	go func() { _, _ = cgroupRoots() }()
}
