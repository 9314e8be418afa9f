// Kernel constants and structures that Debian 12's headers lack or hide behind clashing headers
// (glibc's <sys/mount.h> and <linux/mount.h> cannot be included together). One place for all.
#pragma once

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <linux/wait.h>
#include <sys/syscall.h>

#include <cstdint>

// statfs magic numbers missing from <linux/magic.h> of some releases.
#ifndef MQUEUE_MAGIC
#define MQUEUE_MAGIC 0x19800202
#endif

// memfd_create(2): says that the file may be executed; needed where vm.memfd_noexec=1 (6.3).
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
// F_ADD_SEALS: the mode bits of the file stay (6.3).
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

// umount2(2); <sys/mount.h> has it, <linux/mount.h> does not.
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

// mount_setattr(2) propagation and statx/openat flags shared by both mount APIs.
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

// ioctl_ns(2).
#define NACELLE_NS_GET_NSTYPE 0xb703
