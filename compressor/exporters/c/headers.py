"""Headers of systems: a NAME.h of ours would be found in place of theirs, by them and by users."""

from __future__ import annotations

_C = (
    *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits"),
    *("locale", "math", "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbit"),
    *("stdbool", "stdckdint", "stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string"),
    *("tgmath", "threads", "time", "uchar", "wchar", "wctype"),
)
_POSIX = (
    *("aio", "cpio", "devctl", "dirent", "dlfcn", "endian", "fcntl", "fmtmsg", "fnmatch", "ftw"),
    *("glob", "grp", "iconv", "langinfo", "libgen", "libintl", "monetary", "mqueue", "ndbm"),
    *("netdb", "nl_types", "poll", "pthread", "pwd", "regex", "sched", "search", "semaphore"),
    *("spawn", "strings", "stropts", "syslog", "tar", "termios", "trace", "ucontext", "ulimit"),
    *("unistd", "utime", "utmpx", "wordexp"),
)
_LIBRARIES = (
    *("aliases", "alloca", "ar", "argp", "argz", "byteswap", "crypt", "elf", "envz", "err"),
    *("error", "execinfo", "features", "fstab", "fts", "gconv", "getopt", "gshadow", "ifaddrs"),
    *("lastlog", "link", "malloc", "mcheck", "memory", "mntent", "nss", "obstack", "paths"),
    *("printf", "proc_service", "pty", "re_comp", "regexp", "resolv", "sgtty", "shadow", "stab"),
    *("stdio_ext", "syscall", "sysexits", "term", "termio", "thread_db", "ttyent", "utmp"),
    *("values", "wait"),
    # newlib
    *("envlock", "fastmath", "ieeefp", "newlib", "reent", "regdef", "unctrl"),
    # compilers and boards
    *("arduino", "arm_acle", "arm_neon", "cpuid", "immintrin", "syslimits", "unwind", "varargs"),
)
"""of glibc and others, which the standard ones include"""

HEADERS = frozenset((*_C, *_POSIX, *_LIBRARIES))
"""Without .h, in lower case."""
