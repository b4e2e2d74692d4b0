/* Pid 1 of the test guest: leaves the initramfs root (on which pivot_root does not work), mounts what a system has,
 * runs tests/guest/run.py, and tells QEMU by port 0xf4 that the plan was run to its end (16) or that it was not (1). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void end(int word) {
    sync();
    tcdrain(1);
    if (ioperm(0xf4, 4, 1) == 0) outl(word, 0xf4);
    for (;;) pause();
}

static void need(int result, const char *what) {
    if (result == 0) return;
    fprintf(stderr, "init: failed to %s: %s\n", what, strerror(errno));
    end(1);
}

static void mount_at(const char *type, const char *where, const char *data) {
    mkdir(where, 0755);
    need(mount(type, where, type, MS_NOSUID, data), where);
}

int main(void) {
    mkdir("/newroot", 0755);
    need(mount("/", "/newroot", NULL, MS_BIND, NULL), "bind the root");
    need(chdir("/newroot"), "enter the new root");
    need(mount(".", "/", NULL, MS_MOVE, NULL), "move the root");
    need(chroot("."), "chroot");
    need(chdir("/"), "enter the root");
    mount_at("devtmpfs", "/dev", NULL);
    mount_at("proc", "/proc", NULL);
    mount_at("sysfs", "/sys", NULL);
    mount_at("tmpfs", "/tmp", "mode=1777");
    mount_at("tmpfs", "/dev/shm", "mode=1777");
    mount_at("devpts", "/dev/pts", NULL);
    mount_at("cgroup2", "/sys/fs/cgroup", NULL);
    int console = open("/dev/console", O_RDWR);
    if (console >= 0) {
        dup2(console, 0);
        dup2(console, 1);
        dup2(console, 2);
    }
    setenv("PATH", "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", 1);
    setenv("HOME", "/root", 1);
    pid_t runner = fork();
    if (runner == 0) {
        execl("/usr/bin/python3.11", "python3.11", "-S", "/guest/tests/guest/run.py", NULL);
        perror("init: failed to start the runner");
        _exit(127);
    }
    int status = 0;
    for (;;) { /* As pid 1 it also reaps what others leave. */
        int found_status;
        pid_t found = wait(&found_status);
        if (found == runner) { status = found_status; break; }
        if (found < 0 && errno != EINTR) break;
    }
    end(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 16 : 1);
}
