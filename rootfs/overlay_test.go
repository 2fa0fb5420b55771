package rootfs

const childVariable = "MINIRUN_ROOTFS_TEST"

func runChild(name string) int { return 1 }
